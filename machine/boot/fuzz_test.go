package boot

import (
	"bytes"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// A payload of any header and any sizes is refused, or lies within RAM, no part
// over another, and is read back from there.
func FuzzPlace(f *testing.F) {
	const mib = 1 << 20
	head := func(offset, size, flags uint64) []byte { return image(imageHeader, offset, size, flags) }
	f.Add(head(2*mib, 3*mib, 0), uint32(mib), uint32(5000), uint32(0), uint64(16*mib))
	f.Add(head(2*mib, 3*mib, 0), uint32(mib), uint32(0), uint32(300_000), uint64(16*mib))
	f.Add(head(2*mib, 3*mib, 0), uint32(mib), uint32(5000), uint32(2*mib+1), uint64(16*mib))
	f.Add(head(0, 1, 0), uint32(0), uint32(1), uint32(1), uint64(16*mib))
	f.Add(head(13*mib, mib, 0), uint32(mib), uint32(4096), uint32(0), uint64(16*mib))
	f.Add(head(1<<63, 1<<63, 0), uint32(mib), uint32(1), uint32(0), uint64(64<<30))
	f.Add(head(mem.PageSize, ^uint64(0), 2), uint32(1), uint32(11*mib), uint32(4096), uint64(12345))
	f.Add(head(2*mib, mib, 1), uint32(0), uint32(0), uint32(0), uint64(0))
	f.Add([]byte("\x7fELF"), uint32(100), uint32(0), uint32(0), uint64(16*mib))
	pattern := make([]byte, 16*mib)
	for i := range pattern {
		pattern[i] = byte(i>>12 + i)
	}
	tree := bytes.Repeat([]byte{0xd0}, treeRoom-treeSlack)
	f.Fuzz(func(t *testing.T, head []byte, kernel, initrd, firmware uint32, memory uint64) {
		piece := func(n uint32) []byte { return pattern[:n%uint32(len(pattern))] }
		cfg := &machine.Config{
			Memory: memory, Kernel: append(bytes.Clone(head), piece(kernel)...),
			Initrd: piece(initrd), Firmware: piece(firmware),
		}
		l, err := Place(cfg)
		if err != nil {
			if l != (Layout{}) {
				t.Error("a place and an error")
			}
			return
		}
		if cfg.Validate() != nil || memory > 16*mib {
			return // only validated configurations get RAM
		}
		ram := mem.New(memory)
		if err := Load(ram, cfg, l, tree); err != nil {
			t.Fatal(err)
		}
		parts := []struct {
			at   machine.GPA
			data []byte
		}{{l.Kernel, cfg.Kernel}, {l.Initrd, cfg.Initrd}, {l.Tree, tree}}
		if len(cfg.Firmware) > 0 {
			parts = append(parts, struct {
				at   machine.GPA
				data []byte
			}{RAMBase, cfg.Firmware})
			if l.Entry != RAMBase || l.Info < l.Tree+treeRoom || l.Info+infoRoom > l.Initrd && len(cfg.Initrd) > 0 {
				t.Fatalf("firmware: %+v", l)
			}
		}
		for _, p := range parts {
			got := make([]byte, len(p.data))
			if !ram.Read(p.at, got) || !bytes.Equal(got, p.data) {
				t.Fatalf("what lies at %#x is not what was put there: %+v", p.at, l)
			}
		}
	})
}
