package logchan

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

func TestHelloRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Hello{
			Format:    FormatVersion,
			VM:        rapid.StringN(0, 20, 60).Draw(t, "vm"),
			Run:       ft.Run{Ordinal: rapid.Uint64().Draw(t, "run"), ID: [16]byte{rapid.Byte().Draw(t, "id")}},
			Epoch:     ft.Epoch(rapid.Uint64().Draw(t, "epoch")),
			Process:   ft.ProcessID{rapid.Byte().Draw(t, "process")},
			Expect:    ft.ProcessID{0, rapid.Byte().Draw(t, "expect")},
			Role:      Role(rapid.Byte().Draw(t, "role")),
			Gen:       rapid.Uint64().Draw(t, "gen"),
			HaveState: rapid.Bool().Draw(t, "have"),
			Received:  replay.Seq(rapid.Uint64().Draw(t, "received")),
			DialBack:  rapid.StringN(0, 20, 60).Draw(t, "dial"),
		}
		b := appendHello(nil, h)
		if got, err := decodeHello(b); err != nil || got != h {
			t.Fatalf("%+v, %v", got, err)
		}
		if _, err := decodeHello(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a hello that was cut is accepted")
		}
	})
}

// Whatever comes in, decoding neither panics nor accepts two forms of one thing.
func FuzzDecode(f *testing.F) {
	f.Add(appendHello(nil, Hello{Format: FormatVersion, VM: "web", DialBack: "127.0.0.1:7"}))
	f.Add(appendRefuse(nil, &Refusal{Code: RefuseBusy, Text: "later"}))
	f.Add(ack{epoch: 1, seq: 2, executed: 3, reads: 5, echo: 4}.append(nil))
	f.Add(pulse{released: 5, time: 6}.append(nil))
	f.Add(replay.AppendAccount(nil, account(2)))
	f.Add(appendBegin(nil, State{Meta: []byte("meta")}))
	f.Add(append([]byte{stateEnd, 0, 0}, make([]byte, 16)...))
	f.Add([]byte{diskFlushed, 3, 0x80, 1})
	f.Add(append([]byte{diskSynced}, make([]byte, 16)...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHello(b); err == nil && h.Format == FormatVersion && !bytes.Equal(appendHello(nil, h), b) {
			t.Errorf("%+v has two forms", h)
		}
		_, _ = decodeRefuse(b)
		_, _ = decodeAck(b)
		_, _, _ = cutPulse(b)
		if a, err := replay.DecodeAccount(b); err == nil && !bytes.Equal(replay.AppendAccount(nil, a), b) {
			t.Errorf("%+v has two forms", a)
		}
		for _, role := range []Role{RolePrimary, RoleBackup} {
			if n, err := decodeNote(role, b); err == nil && !bytes.Equal(n.append(nil), b) {
				t.Errorf("%+v has two forms", n)
			}
		}
		if len(b) > 0 {
			if in, err := beginIncoming(b); err == nil {
				_, _ = in.finish(b)
			}
		}
		for fr := replay.NewFrameReader(bytes.NewReader(b)); ; {
			if _, _, err := fr.Next(); err != nil {
				break
			}
		}
	})
}
