package board

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
)

// Whatever stream is loaded: it is refused, or the machine that took it runs,
// has a digest and saves what it would load again. It takes no more memory than
// a machine of its size and the stream account for. Streams are long: give go
// test -fuzzminimizetime 10x, or it spends its time on making them shorter.
func FuzzLoad(f *testing.F) {
	cfg := busyConfig()
	b := newBoard(f, cfg)
	add := func(b *Board) []byte {
		var buf bytes.Buffer
		if err := b.Save(&buf); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes(), false)
		return buf.Bytes()
	}
	add(b)
	record(f, b, newWorld(5, cfg.Disks), 30_000, 1000)
	snap := add(b)
	f.Add(snap[:len(snap)/2], false)
	f.Add(snap[:snapshotHeader], true)
	f.Add([]byte{}, false)
	for at := 0; at < len(snap); at += 1 + len(snap)/16 {
		s := bytes.Clone(snap)
		s[at] ^= 0x81
		f.Add(s, true)
	}
	for _, size := range []uint64{0, 1, maxState, maxState + 1, 1 << 63} {
		s := bytes.Clone(snap)
		binary.LittleEndian.PutUint64(s[40:], size)
		f.Add(s, true)
	}

	m, again := newBoard(f, cfg), newBoard(f, cfg)
	f.Fuzz(func(t *testing.T, s []byte, mend bool) {
		if mend && len(s) >= 8 { // past the checksum
			s = s[:len(s)-8]
			s = binary.LittleEndian.AppendUint64(bytes.Clone(s), xxh3.Hash(s))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := m.Load(bytes.NewReader(s))
		runtime.ReadMemStats(&after)
		if took, most := after.TotalAlloc-before.TotalAlloc, cfg.Memory/2+32*uint64(len(s)); took > most {
			t.Fatalf("loading %d bytes allocated %d, at most %d are explained", len(s), took, most)
		}
		if err != nil {
			return
		}
		m.Digest()
		m.Run(m.Icount() + 2000)
		m.Outputs(nil)
		m.Pending(nil)
		m.RxRoom(machine.Port{Kind: machine.PortConsole})
		m.NextTimer()
		var buf bytes.Buffer
		if err := m.Save(&buf); err != nil {
			t.Fatal(err)
		}
		if err := again.Load(&buf); err != nil {
			t.Fatalf("what was saved is not loaded: %v", err)
		}
		if again.Digest() != m.Digest() {
			t.Fatal("what was saved and loaded has another digest")
		}
	})
}
