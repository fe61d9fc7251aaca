package board

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// An account is of its digest, lists exactly the pages that have changed since
// the one before, and is the same for machines that agree, however they were
// cut and whatever asked for a digest or a snapshot in between.
func TestAccountsOfMachinesThatAgree(t *testing.T) {
	cfg := busyConfig()
	log := record(t, newBoard(t, cfg), newWorld(5, cfg.Disks), 200_000, 10_000)
	accounts := func(name string, restless bool) (out []machine.Account) {
		b := newBoard(t, cfg)
		b.Account()
		was := pageSums(b)
		replay(t, name, b, log, func(b *Board, next machine.Icount) (*Board, machine.Icount) {
			due := machine.Icount(len(out)+1) * 7_000
			if b.Icount() >= due {
				a := b.Account()
				if a.Pos != b.Icount() || a.Digest != b.Digest() || a.Base != mem.Base {
					t.Fatalf("%s: an account of %d with %v at %d with %v", name, a.Pos, a.Digest, b.Icount(), b.Digest())
				}
				now := pageSums(b)
				for p := range now {
					i, listed := slices.BinarySearchFunc(a.Pages, uint32(p), func(s machine.PageSum, p uint32) int { return int(s.Page) - int(p) })
					if listed != (now[p] != was[p]) || listed && a.Pages[i].Sum != now[p] {
						t.Fatalf("%s: page %d at %d: listed %v", name, p, a.Pos, listed)
					}
				}
				was = now
				out = append(out, a)
				due += 7_000
			} else if restless {
				b.Digest()
				b.DropCaches()
				next = min(next, b.Icount()+777)
			}
			return b, min(next, due)
		})
		return out
	}
	calm, restless := accounts("calm", false), accounts("restless", true)
	if len(calm) < 20 || len(calm) != len(restless) {
		t.Fatalf("%d and %d accounts", len(calm), len(restless))
	}
	for i, a := range calm {
		b := restless[i]
		if a.Digest != b.Digest || !slices.Equal(a.Registers, b.Registers) || !slices.Equal(a.Devices, b.Devices) || !slices.Equal(a.Pages, b.Pages) {
			t.Errorf("the accounts at %d differ", a.Pos)
		}
		if len(a.Pages) == 0 || len(a.Pages) > 200 {
			t.Errorf("%d pages changed up to %d", len(a.Pages), a.Pos)
		}
	}
}

func pageSums(b *Board) [][16]byte {
	sums := make([][16]byte, b.ram.Pages())
	for p := range sums {
		sums[p] = b.ram.PageDigest(uint64(p))
	}
	return sums
}

// An account counts from a State that was loaded, and its parts cover all State:
// whatever the digest sees is in one of them.
func TestAccountAfterLoad(t *testing.T) {
	cfg := busyConfig()
	b := newBoard(t, cfg)
	record(t, b, newWorld(6, cfg.Disks), 50_000, 10_000)
	c := reborn(t, cfg, b)
	if a := c.Account(); len(a.Pages) != 0 || a.Digest != b.Digest() {
		t.Errorf("%d pages changed by loading", len(a.Pages))
	}
	names := map[string]bool{}
	for _, p := range c.Account().Devices {
		if names[p.Name] || p.Sum == ([16]byte{}) {
			t.Errorf("part %q", p.Name)
		}
		names[p.Name] = true
	}
	for _, want := range []string{"board", machine.HartPart, "uart", "plic", "clint", "rtc", "virtio-rng", "virtio-console", "virtio-blk 0"} {
		if !names[want] {
			t.Errorf("no part %q among %v", want, names)
		}
	}
	if len(names) != 2+len(c.devices) {
		t.Errorf("%d parts for %d devices", len(names), len(c.devices))
	}

	// An input changes its device and nothing else.
	before := c.Account()
	if err := c.Deliver(machine.ConsoleInput{Session: 99, Bytes: []byte{'x'}}); err != nil {
		t.Fatal(err)
	}
	var changed []string
	for i, p := range c.Account().Devices {
		if p != before.Devices[i] {
			changed = append(changed, p.Name)
		}
	}
	if !slices.Contains(changed, "uart") || slices.Contains(changed, "virtio-blk 0") || slices.Contains(changed, "rtc") {
		t.Errorf("input at the console changed %v", changed)
	}
}

// The Inspector sees the code that is executed next, through page tables too.
func TestInstructionIsTheNextOne(t *testing.T) {
	cfg := busyConfig()
	b := newBoard(t, cfg)
	seen, paged := 0, 0
	w := newWorld(7, cfg.Disks)
	record(t, b, w, 20_000, 10_000)
	for range 3000 {
		pc, encoding, ok := b.Instruction()
		if uint64(pc) != b.hart.PC || !ok {
			t.Fatalf("at %d: %#x, %v", b.Icount(), pc, ok)
		}
		off := int(pc - imageBase)
		if off >= 0 && off+4 <= len(cfg.Kernel) {
			want := binary.LittleEndian.Uint32(cfg.Kernel[off:])
			if want&3 != 3 {
				want &= 0xffff
			}
			if encoding != want {
				t.Fatalf("%#x at %#x, want %#x", encoding, pc, want)
			}
			seen++
			if b.hart.Satp != 0 {
				paged++
			}
		}
		if b.Run(b.Icount()+1) != machine.Reached {
			break
		}
	}
	if seen < 500 || paged == 0 {
		t.Errorf("compared %d, %d of them with paging", seen, paged)
	}

	c := newBoard(t, testConfig(func(p *asm.Program) {
		p.Raw16(1) // c.nop
		p.ADDI(asm.A0, asm.Zero, 7)
	}))
	c.Run(1)
	for _, want := range []uint32{1, 0x0070_0513} {
		if _, encoding, ok := c.Instruction(); !ok || encoding != want {
			t.Errorf("%#x, %v; want %#x", encoding, ok, want)
		}
		c.Run(c.Icount() + 1)
	}
	if at, page := b.Page(3); at != mem.Base+3*mem.PageSize || len(page) != mem.PageSize {
		t.Errorf("page of %d bytes at %#x", len(page), at)
	}
	if _, page := b.Page(uint32(b.ram.Pages())); page != nil {
		t.Error("a page beyond RAM")
	}
}
