package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
)

// refusal is an error reply to an option.
type refusal struct {
	kind uint32
	text string
	by   ft.Fence // of RepErrFenced
}

func (r refusal) Error() string {
	text := r.text
	if text == "" {
		switch r.kind {
		case RepErrUnsup:
			text = "the server does not know this option"
		case RepErrUnknown:
			text = "the server has no such export"
		default:
			text = fmt.Sprintf("the server refused with reply %#x", r.kind)
		}
	}
	return "nbd: " + text
}

// Unwrap makes a refusal by number an ErrFenced.
func (r refusal) Unwrap() error {
	if r.kind == RepErrFenced {
		return storage.ErrFenced{By: r.by}
	}
	return nil
}

// hello reads the server's greeting and answers it ("Fixed newstyle
// negotiation").
func hello(rw io.ReadWriter) error {
	var b [18]byte
	if _, err := io.ReadFull(rw, b[:8]); err != nil {
		return fmt.Errorf("nbd: no greeting: %w", err)
	}
	if binary.BigEndian.Uint64(b[:]) != Magic {
		return errors.New("nbd: what answers there does not speak NBD")
	}
	if _, err := io.ReadFull(rw, b[8:]); err != nil {
		return fmt.Errorf("nbd: the greeting ends early: %w", err)
	}
	flags := binary.BigEndian.Uint16(b[16:])
	if binary.BigEndian.Uint64(b[8:]) != OptionMagic || flags&FixedNewstyle == 0 {
		return errors.New("nbd: the server speaks the old negotiation only; a server of this decade is needed")
	}
	_, err := rw.Write(binary.BigEndian.AppendUint32(nil, uint32(flags&(FixedNewstyle|NoZeroes))))
	return err
}

// ask sends one option and gives every reply that carries data to each, until
// the server acknowledges. An error reply is returned as a refusal.
func ask(rw io.ReadWriter, option uint32, data []byte, each func(kind uint32, body []byte) error) error {
	if _, err := rw.Write(append(Option{option, uint32(len(data))}.Append(nil), data...)); err != nil {
		return fmt.Errorf("nbd: %w", err)
	}
	// A server that answers one option without end is no server.
	for range 1024 {
		var head [OptionReplySize]byte
		if _, err := io.ReadFull(rw, head[:]); err != nil {
			return fmt.Errorf("nbd: the server hung up on option %#x: %w", option, err)
		}
		r, err := ParseOptionReply(&head)
		if err != nil {
			return err
		}
		body, err := readBody(rw, r.Length)
		if err != nil {
			return fmt.Errorf("nbd: the server hung up: %w", err)
		}
		switch {
		case r.Option != option:
			return fmt.Errorf("nbd: the server answers option %#x, which was not asked", r.Option)
		case r.Type == RepAck:
			return nil
		case r.Type&RepError != 0:
			return newRefusal(r.Type, body)
		}
		if err := each(r.Type, body); err != nil {
			return err
		}
	}
	return fmt.Errorf("nbd: the server does not come to an end with option %#x", option)
}

// readBody reads n bytes and keeps memory only for what has come.
func readBody(r io.Reader, n uint32) ([]byte, error) {
	const step = 64 << 10
	body := make([]byte, 0, min(n, step))
	for uint32(len(body)) < n {
		have := len(body)
		more := min(int(n)-have, max(step, have))
		body = append(body, make([]byte, more)...)
		if _, err := io.ReadFull(r, body[have:]); err != nil {
			return nil, err
		}
	}
	return body, nil
}

func newRefusal(kind uint32, body []byte) error {
	r := refusal{kind: kind}
	if kind == RepErrFenced {
		if len(body) < 16 {
			return errShort
		}
		r.by = ft.Fence{Run: binary.BigEndian.Uint64(body), Number: binary.BigEndian.Uint64(body[8:])}
		body = body[16:]
	}
	r.text = printable(body)
	return r
}

// AppendFenced encodes the body of RepErrFenced.
func AppendFenced(b []byte, by ft.Fence, text string) []byte {
	b = binary.BigEndian.AppendUint64(b, by.Run)
	b = binary.BigEndian.AppendUint64(b, by.Number)
	return append(b, text...)
}

// printable is a server's text, fit for a terminal.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(string(b[:min(len(b), 1000)]), "?"))
}

func noData(kind uint32, _ []byte) error {
	return fmt.Errorf("nbd: the server sends a reply of type %#x where none belongs", kind)
}

// start goes from option haggling to transmission.
func start(rw io.ReadWriter, export string) (Info, error) {
	info := Info{MinBlock: 1, PreferredBlock: 4096, MaxPayload: MaxPayload}
	told := false
	want := Select{Export: export, Wants: []uint16{InfoBlockSize}}
	err := ask(rw, OptGo, want.Append(nil), func(kind uint32, body []byte) error {
		if kind != RepInfo {
			return noData(kind, body)
		}
		is, err := info.merge(body)
		told = told || is
		return err
	})
	if r := (refusal{}); errors.As(err, &r) && r.kind == RepErrUnsup {
		return info, errors.New("nbd: the server does not know NBD_OPT_GO; a server of this decade is needed")
	}
	if err == nil && !told {
		err = errors.New("nbd: the server does not describe the export")
	}
	if err != nil {
		return info, err
	}
	return info, info.check()
}
