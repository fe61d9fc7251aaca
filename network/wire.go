package network

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/lockstep-vm/lockstep/ft"
)

// The protocol between a VM process and the switch. A message is a length
// (4 bytes, big endian, of what follows), a type (1 byte) and a body:
//
//	hello    magic "LKSW", version, NIC index, MAC, process, name of the VM
//	welcome  version, switch                    -- attached in standby
//	go live  fence, switch, received            -- asks to speak
//	live     fence                              -- granted
//	refused  reason, fence that holds the port, text
//	send     frame from the guest
//	receive  number, frame to the guest
//	confirm  number: that frame and all before it are in the log
//
// Numbers are big endian. "switch" and "process" are random and made at start;
// received counts only towards the switch that gave the numbers. Message types
// are for ever.
const (
	msgHello   = 1
	msgGoLive  = 2
	msgSend    = 3
	msgConfirm = 4
	msgWelcome = 17
	msgLive    = 18
	msgReceive = 19
	msgRefused = 20
)

// Limits of the protocol.
const (
	wireVersion = 1
	minFrame    = 14   // an Ethernet header
	maxFrame    = 9216 // bytes with the Ethernet header; larger ones are not carried
	maxName     = 128  // bytes of a VM's name
	maxText     = 512  // bytes of a refusal's text
	maxMessage  = 1 + 8 + maxFrame
	headerSize  = 5
)

var wireMagic = [4]byte{'L', 'K', 'S', 'W'}

var errProtocol = errors.New("network: protocol error")

// RefuseReason says why the switch refused an attachment.
type RefuseReason uint8

const (
	RefusedVersion  RefuseReason = 1 // the two speak different versions
	RefusedProtocol RefuseReason = 2 // a message was malformed or came out of turn
	RefusedFence    RefuseReason = 3 // a higher fence number has gone live on the port
	RefusedInUse    RefuseReason = 4 // another process is live with the same fence number
	RefusedLimit    RefuseReason = 5 // the switch has no room for another port
)

type hello struct {
	version uint16
	index   uint8
	mac     MAC
	process [16]byte
	vm      string
}

type goLive struct {
	fence    ft.Fence
	sw       [16]byte
	received uint64
}

// message starts a message of a type; seal fills in its length.
func message(kind byte, size int) []byte {
	b := make([]byte, 4, headerSize+size)
	return append(b, kind)
}

func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func (h hello) encode() []byte {
	b := message(msgHello, 64+len(h.vm))
	b = append(b, wireMagic[:]...)
	b = binary.BigEndian.AppendUint16(b, h.version)
	b = append(b, h.index)
	b = append(b, h.mac[:]...)
	b = append(b, h.process[:]...)
	b = append(b, h.vm...)
	return seal(b)
}

func decodeHello(body []byte) (h hello, err error) {
	const fixed = 4 + 2 + 1 + 6 + 16
	if len(body) < fixed || [4]byte(body) != wireMagic {
		return h, fmt.Errorf("%w: not a lockstep NIC", errProtocol)
	}
	h.version = binary.BigEndian.Uint16(body[4:])
	h.index = body[6]
	h.mac = MAC(body[7:13])
	h.process = [16]byte(body[13:29])
	h.vm = string(body[fixed:])
	if h.vm == "" || len(h.vm) > maxName {
		return h, fmt.Errorf("%w: a VM's name has 1 to %d bytes", errProtocol, maxName)
	}
	if h.mac[0]&1 != 0 || h.mac == (MAC{}) {
		return h, fmt.Errorf("%w: %s is not the MAC address of a NIC", errProtocol, h.mac)
	}
	return h, nil
}

func appendFence(b []byte, f ft.Fence) []byte {
	b = binary.BigEndian.AppendUint64(b, f.Run)
	return binary.BigEndian.AppendUint64(b, f.Number)
}

func takeFence(b []byte) ft.Fence {
	return ft.Fence{Run: binary.BigEndian.Uint64(b), Number: binary.BigEndian.Uint64(b[8:])}
}

func (g goLive) encode() []byte {
	b := appendFence(message(msgGoLive, 40), g.fence)
	b = append(b, g.sw[:]...)
	return seal(binary.BigEndian.AppendUint64(b, g.received))
}

func decodeGoLive(body []byte) (g goLive, err error) {
	if len(body) != 40 {
		return g, fmt.Errorf("%w: go-live of %d bytes", errProtocol, len(body))
	}
	return goLive{fence: takeFence(body), sw: [16]byte(body[16:32]), received: binary.BigEndian.Uint64(body[32:])}, nil
}

func encodeWelcome(sw [16]byte) []byte {
	b := binary.BigEndian.AppendUint16(message(msgWelcome, 18), wireVersion)
	return seal(append(b, sw[:]...))
}

func decodeWelcome(body []byte) (version uint16, sw [16]byte, err error) {
	if len(body) != 18 {
		return 0, sw, fmt.Errorf("%w: welcome of %d bytes", errProtocol, len(body))
	}
	return binary.BigEndian.Uint16(body), [16]byte(body[2:]), nil
}

func encodeLive(f ft.Fence) []byte { return seal(appendFence(message(msgLive, 16), f)) }

func decodeLive(body []byte) (ft.Fence, error) {
	if len(body) != 16 {
		return ft.Fence{}, fmt.Errorf("%w: live of %d bytes", errProtocol, len(body))
	}
	return takeFence(body), nil
}

func encodeRefused(r RefusedError) []byte {
	text := r.Text[:min(len(r.Text), maxText)]
	b := append(message(msgRefused, 17+len(text)), byte(r.Reason))
	b = appendFence(b, r.Holder)
	return seal(append(b, text...))
}

func decodeRefused(body []byte) (RefusedError, error) {
	if len(body) < 17 || len(body) > 17+maxText {
		return RefusedError{}, fmt.Errorf("%w: refusal of %d bytes", errProtocol, len(body))
	}
	return RefusedError{Reason: RefuseReason(body[0]), Holder: takeFence(body[1:]), Text: string(body[17:])}, nil
}

// sendHeader and receiveHeader precede a frame of the given length.
func sendHeader(frame int) (h [headerSize]byte) {
	binary.BigEndian.PutUint32(h[:], uint32(1+frame))
	h[4] = msgSend
	return h
}

func receiveHeader(number uint64, frame int) (h [headerSize + 8]byte) {
	binary.BigEndian.PutUint32(h[:], uint32(1+8+frame))
	h[4] = msgReceive
	binary.BigEndian.PutUint64(h[5:], number)
	return h
}

func decodeReceive(body []byte) (number uint64, frame []byte, err error) {
	if len(body) < 8 {
		return 0, nil, fmt.Errorf("%w: frame of %d bytes", errProtocol, len(body))
	}
	return binary.BigEndian.Uint64(body), body[8:], checkFrame(body[8:])
}

func checkFrame(frame []byte) error {
	if len(frame) < minFrame || len(frame) > maxFrame {
		return fmt.Errorf("%w: frame of %d bytes; it must have %d to %d", errProtocol, len(frame), minFrame, maxFrame)
	}
	return nil
}

func encodeConfirm(number uint64) []byte {
	return seal(binary.BigEndian.AppendUint64(message(msgConfirm, 8), number))
}

func decodeConfirm(body []byte) (uint64, error) {
	if len(body) != 8 {
		return 0, fmt.Errorf("%w: confirmation of %d bytes", errProtocol, len(body))
	}
	return binary.BigEndian.Uint64(body), nil
}

// messageReader reads messages; a body is valid until the next read.
type messageReader struct {
	r   *bufio.Reader
	buf []byte
}

func newMessageReader(r io.Reader) *messageReader {
	return &messageReader{r: bufio.NewReaderSize(r, 64<<10), buf: make([]byte, maxMessage)}
}

// next returns io.EOF only between messages.
func (m *messageReader) next() (kind byte, body []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(m.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > maxMessage {
		return 0, nil, fmt.Errorf("%w: message of %d bytes; it must have 1 to %d", errProtocol, n, maxMessage)
	}
	b := m.buf[:n]
	if _, err := io.ReadFull(m.r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return b[0], b[1:], nil
}
