package logchan

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// A backup whose digest is not the one in the log asks the primary what that
// was taken over, to tell where the two machines differ.
//
//	backup                      primary
//	Inquire ──── Inquiry ─────► Inquired
//	Answered ◄── Account ... ── Answer

// Kinds of Account frames.
const (
	accountPart = 1
	accountLast = 2
	accountNone = 3
)

// Inquire asks the primary for its account of the digest at entry seq, once, on
// the connection that there is; false if there is none. It is the end of this
// backup: it will execute nothing more, so from here on nothing is received or
// acknowledged and a connection that is lost is not resumed (R13). Seal, or
// Bye, follows in any case.
func (b *Backup) Inquire(seq replay.Seq) bool {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	b.inquired = seq
	b.link.ended = true
	clear(b.mailbox)
	b.mailbox, b.held = b.mailbox[:0], 0
	b.space.Broadcast()
	c := b.link.cur
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer, c.inquiry = nil, seq
	if !c.blocked && !c.closed {
		c.pump()
	}
	return !c.closed
}

// account receives a piece of the answer to an inquiry.
func (b *Backup) account(c *conn, body []byte) error {
	f := fields{b: body}
	seq, kind := replay.Seq(f.varint()), f.u8()
	if f.short {
		return errShort
	}
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	switch {
	case !b.link.current(c):
		return errGone
	case b.inquired == 0 || b.inquired != seq || b.answered:
		return errors.New("logchan: the peer sends an account that nobody asked for")
	case len(b.parts)+len(f.b) > replay.MaxAccount:
		return fmt.Errorf("logchan: the peer's account takes more than %d bytes", replay.MaxAccount)
	}
	b.parts = append(b.parts, f.b...)
	ev := Event{Kind: Answered, Epoch: b.link.epoch, Gen: c.gen, Seq: seq}
	switch kind {
	case accountPart:
		return nil
	case accountLast:
		a, err := replay.DecodeAccount(b.parts)
		if err != nil {
			return err
		}
		ev.Account = &a
	case accountNone:
		if len(b.parts) > 0 {
			return errShort
		}
	default:
		return errShort
	}
	b.answered, b.parts = true, nil
	b.link.post(ev)
	return nil
}

// inquiry tells the owner what the backup asks for, once on a connection.
func (p *Primary) inquiry(c *conn, body []byte) error {
	f := fields{b: body}
	seq := replay.Seq(f.varint())
	if err := f.end(); err != nil {
		return err
	}
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	if !p.link.current(c) {
		return errGone
	}
	c.mu.Lock()
	again := c.inquiry != 0
	c.inquiry = seq
	c.mu.Unlock()
	if again || seq == 0 {
		return errors.New("logchan: the peer inquires again")
	}
	p.link.post(Event{Kind: Inquired, Epoch: p.link.epoch, Gen: c.gen, Seq: seq})
	return nil
}

// Answer sends the account that an Inquired event has asked for; nil says that
// it is not kept.
func (p *Primary) Answer(seq replay.Seq, a *machine.Account) {
	var bodies [][]byte
	head := func(kind byte) []byte { return append(binary.AppendUvarint(nil, uint64(seq)), kind) }
	var rest []byte
	if a != nil {
		rest = replay.AppendAccount(nil, *a)
	}
	if a == nil || len(rest) > replay.MaxAccount {
		bodies = append(bodies, head(accountNone))
	} else {
		for len(rest) > writeSize {
			bodies = append(bodies, append(head(accountPart), rest[:writeSize]...))
			rest = rest[writeSize:]
		}
		bodies = append(bodies, append(head(accountLast), rest...))
	}
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	c := p.link.cur
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inquiry != seq || c.closed {
		return
	}
	c.accounts = bodies
	if !c.blocked {
		c.pump()
	}
}
