package dev

import (
	"errors"
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/bus"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// UARTSize is the size of the UART's window in bytes.
const UARTSize = 0x100

// uartFIFO is the depth of the receive FIFO in bytes.
const uartFIFO = 16

// Registers of the 16550, by offset. With DLAB set in LCR the first two are
// the divisor latch.
const (
	uartRBR = 0 // read: receive buffer; write: transmit holding register
	uartIER = 1
	uartIIR = 2 // write: FCR
	uartLCR = 3
	uartMCR = 4
	uartLSR = 5
	uartMSR = 6
	uartSCR = 7
)

const (
	ierRx   = 1 << 0
	ierTx   = 1 << 1
	ierLine = 1 << 2
	ierMask = 0x0f

	iirNone    = 0x01
	iirTx      = 0x02
	iirRx      = 0x04
	iirLine    = 0x06
	iirTimeout = 0x0c
	iirFIFO    = 0xc0

	fcrEnable  = 1 << 0
	fcrClearRx = 1 << 1
	fcrMask    = 0xc9

	lcrDLAB = 1 << 7

	mcrLoop = 1 << 4
	mcrMask = 0x1f

	lsrReady   = 1 << 0
	lsrOverrun = 1 << 1
	lsrTxEmpty = 0x60 // holding register and shift register

	// CTS, DSR and DCD: somebody is always there.
	msrConnected = 0xb0
)

// UART is a 16550A whose transmitter is never busy: a byte written is an
// output at once, as bytes of console 0.
type UART struct {
	out bus.Emitter

	rx      []byte // received and not yet read; at most uartFIFO
	overrun bool
	txEvent bool // the holding register became empty and nobody has seen it
	ier     uint8
	fcr     uint8
	lcr     uint8
	mcr     uint8
	scr     uint8
	dll     uint8
	dlm     uint8

	log      ConsoleLog
	sessions ConsoleSessions
}

// NewUART is a UART in its reset state.
func NewUART(out bus.Emitter) *UART { return &UART{out: out} }

// Reset puts the registers back to power-on. What the console has written and
// how far input sessions have come is kept: it counts since power-on.
func (u *UART) Reset() {
	*u = UART{out: u.out, log: u.log, sessions: u.sessions}
}

// Tail is the last output and the offset of its first byte.
func (u *UART) Tail() (offset uint64, tail []byte) { return u.log.Tail() }

// RxRoom is how many bytes Input takes now.
func (u *UART) RxRoom() int { return u.depth() - len(u.rx) }

// depth is how many bytes the receiver holds: one while the FIFO is off.
func (u *UART) depth() int {
	if u.fcr&fcrEnable != 0 {
		return uartFIFO
	}
	return 1
}

// Input takes the bytes of in that its session has not delivered before. After
// an error nothing was taken.
func (u *UART) Input(in machine.ConsoleInput) error {
	fresh, err := u.sessions.Fresh(in)
	if err != nil {
		return err
	}
	if room := u.RxRoom(); len(fresh) > room {
		return fmt.Errorf("dev: %d bytes of console input, but the UART has room for %d; ask RxRoom first", len(fresh), max(room, 0))
	}
	u.rx = append(u.rx, fresh...)
	u.sessions.Take(in.Session, len(fresh))
	return nil
}

// IRQ is the level of the interrupt line.
func (u *UART) IRQ() bool { return u.cause() != iirNone }

// cause is the identification of the interrupt of highest priority.
func (u *UART) cause() uint8 {
	switch {
	case u.ier&ierLine != 0 && u.overrun:
		return iirLine
	case u.ier&ierRx != 0 && len(u.rx) >= u.trigger():
		return iirRx
	case u.ier&ierRx != 0 && len(u.rx) > 0:
		// Fewer bytes than the trigger level: the FIFO's time-out, which here
		// has always elapsed.
		return iirTimeout
	case u.ier&ierTx != 0 && u.txEvent:
		return iirTx
	}
	return iirNone
}

// trigger is how many bytes in the FIFO interrupt.
func (u *UART) trigger() int {
	if u.fcr&fcrEnable == 0 {
		return 1
	}
	return [4]int{1, 4, 8, 14}[u.fcr>>6]
}

// Load implements bus.Device. Registers are bytes; wider accesses see the one
// byte at their offset.
func (u *UART) Load(off uint64, _ uint8) uint64 {
	switch off {
	case uartRBR:
		if u.lcr&lcrDLAB != 0 {
			return uint64(u.dll)
		}
		if len(u.rx) == 0 {
			return 0
		}
		b := u.rx[0]
		u.rx = append(u.rx[:0], u.rx[1:]...)
		return uint64(b)
	case uartIER:
		if u.lcr&lcrDLAB != 0 {
			return uint64(u.dlm)
		}
		return uint64(u.ier)
	case uartIIR:
		c := u.cause()
		if c == iirTx {
			u.txEvent = false
		}
		if u.fcr&fcrEnable != 0 {
			c |= iirFIFO
		}
		return uint64(c)
	case uartLCR:
		return uint64(u.lcr)
	case uartMCR:
		return uint64(u.mcr)
	case uartLSR:
		v := uint64(lsrTxEmpty)
		if len(u.rx) > 0 {
			v |= lsrReady
		}
		if u.overrun {
			v |= lsrOverrun
			u.overrun = false
		}
		return v
	case uartMSR:
		if u.mcr&mcrLoop == 0 {
			return msrConnected
		}
		// In loop-back the modem inputs are the modem outputs: DTR to DSR, RTS to CTS,
		// OUT1 to RI, OUT2 to DCD.
		m := uint64(u.mcr)
		return m>>1&1<<4 | m&1<<5 | m>>2&1<<6 | m>>3&1<<7
	case uartSCR:
		return uint64(u.scr)
	}
	return 0
}

// Store implements bus.Device.
func (u *UART) Store(off uint64, _ uint8, v uint64) {
	b := uint8(v)
	switch off {
	case uartRBR:
		if u.lcr&lcrDLAB != 0 {
			u.dll = b
			return
		}
		u.transmit(b)
	case uartIER:
		if u.lcr&lcrDLAB != 0 {
			u.dlm = b
			return
		}
		if b&ierTx != 0 && u.ier&ierTx == 0 {
			u.txEvent = true // enabling finds the holding register empty
		}
		u.ier = b & ierMask
	case uartIIR:
		if (b^u.fcr)&fcrEnable != 0 || b&fcrClearRx != 0 {
			u.rx = u.rx[:0]
		}
		if b&fcrEnable == 0 {
			b = 0 // the other bits are written only together with the enable
		}
		u.fcr = b & fcrMask
	case uartLCR:
		u.lcr = b
	case uartMCR:
		u.mcr = b & mcrMask
	case uartSCR:
		u.scr = b
	}
}

func (u *UART) transmit(b byte) {
	u.txEvent = true
	if u.mcr&mcrLoop != 0 {
		if len(u.rx) >= u.depth() {
			u.overrun = true
			return
		}
		u.rx = append(u.rx, b)
		return
	}
	u.Print(b)
}

// Print writes bytes to console 0 without going through the registers, as
// firmware that shares the UART does.
func (u *UART) Print(p ...byte) {
	offset := u.log.Offset()
	u.log.Append(p)
	u.out.Emit(machine.Output{Port: machine.Port{Kind: machine.PortConsole}, Offset: offset, Bytes: p})
}

// SaveState writes the State.
func (u *UART) SaveState(e *snapshot.Encoder) {
	e.Section("uart")
	e.Blob(u.rx)
	e.Bool(u.overrun)
	e.Bool(u.txEvent)
	for _, r := range u.registers() {
		e.U8(*r)
	}
	u.log.Save(e)
	u.sessions.Save(e)
}

// LoadState replaces the State.
func (u *UART) LoadState(d *snapshot.Decoder) error {
	d.Section("uart")
	u.rx = d.Blob(uartFIFO)
	u.overrun = d.Bool()
	u.txEvent = d.Bool()
	for _, r := range u.registers() {
		*r = d.U8()
	}
	if u.ier&^ierMask != 0 || u.fcr&^fcrMask != 0 || u.fcr != 0 && u.fcr&fcrEnable == 0 || u.mcr&^mcrMask != 0 || len(u.rx) > u.depth() {
		d.Fail(errors.New("dev: the saved UART has a register that no guest can set"))
	}
	if err := u.log.Load(d); err != nil {
		return err
	}
	return u.sessions.Load(d)
}

func (u *UART) registers() [7]*uint8 {
	return [...]*uint8{&u.ier, &u.fcr, &u.lcr, &u.mcr, &u.scr, &u.dll, &u.dlm}
}
