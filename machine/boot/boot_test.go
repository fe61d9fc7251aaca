package boot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
)

// parse reads a flattened tree into "path/property" -> value; an independent
// reading of chapter 5 of the specification.
func parse(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	word := func(at uint32) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	if word(0) != 0xd00dfeed || int(word(4)) != len(b) || word(20) != 17 || word(24) != 16 {
		t.Fatalf("bad header % x", b[:40])
	}
	at, names := word(8), word(12)
	if word(16)%8 != 0 || at%4 != 0 || at+word(36) != names || int(names+word(32)) != len(b) {
		t.Fatal("blocks overlap or are not aligned")
	}
	props := map[string][]byte{}
	var path []string
	text := func(at uint32) string {
		return string(b[at : at+uint32(bytes.IndexByte(b[at:], 0))])
	}
	for {
		token := word(at)
		at += 4
		switch token {
		case 1:
			name := text(at)
			path = append(path, name)
			props[strings.Join(path, "/")+"/"] = nil
			at += uint32(len(name)+4) &^ 3
		case 2:
			path = path[:len(path)-1]
		case 3:
			size, name := word(at), text(names+word(at+4))
			at += 8
			props[strings.Join(path, "/")+"/"+name] = b[at : at+size]
			at += (size + 3) &^ 3
		case 9:
			if len(path) != 0 || at != names {
				t.Fatal("the tree ends in the middle")
			}
			return props
		default:
			t.Fatalf("token %d", token)
		}
	}
}

func TestTreeRoundTrip(t *testing.T) {
	tree := Tree{Memory: 256 << 20, MMU: machine.Sv48, Cmdline: "console=ttyS0", Virtio: 10,
		Layout: Layout{Initrd: 0x8f00_0000, InitrdSize: 0x1234}}
	for i := range tree.Seed {
		tree.Seed[i] = byte(i)
	}
	blob := tree.Encode()
	if !bytes.Equal(blob, tree.Encode()) {
		t.Error("two encodings differ")
	}
	p := parse(t, blob)
	for path, want := range map[string]string{
		"/#address-cells":                      "00000002",
		"/memory@80000000/reg":                 "00000000800000000000000010000000",
		"/chosen/bootargs":                     fmt.Sprintf("%x", "console=ttyS0\x00"),
		"/chosen/stdout-path":                  fmt.Sprintf("%x", "/soc/serial@10000000\x00"),
		"/chosen/rng-seed":                     fmt.Sprintf("%x", tree.Seed),
		"/chosen/linux,initrd-start":           "000000008f000000",
		"/chosen/linux,initrd-end":             "000000008f001234",
		"/cpus/timebase-frequency":             "00989680",
		"/cpus/cpu@0/riscv,isa":                fmt.Sprintf("%x", "rv64imafdc_zicbom_zicboz_zicntr_zicond_zicsr_zifencei_zawrs_zba_zbb_zbs_sstc_svadu_svinval\x00"),
		"/cpus/cpu@0/riscv,cboz-block-size":    "00000040",
		"/cpus/cpu@0/riscv,cbom-block-size":    "00000040",
		"/cpus/cpu@0/mmu-type":                 fmt.Sprintf("%x", "riscv,sv48\x00"),
		"/soc/serial@10000000/interrupts":      "0000000a",
		"/soc/rtc@101000/interrupts":           "0000000b",
		"/soc/virtio_mmio@10001000/reg":        "00000000100010000000000000001000",
		"/soc/virtio_mmio@10008000/interrupts": "00000008",
		"/soc/virtio_mmio@10009000/interrupts": "00000020",
		"/poweroff/value":                      "00005555",
		"/reboot/value":                        "00007777",
	} {
		if got, ok := p[path]; !ok || fmt.Sprintf("%x", got) != want {
			t.Errorf("%s is %x (%v), want %s", path, got, ok, want)
		}
	}
	if _, there := p["/soc/virtio_mmio@1000b000/"]; there {
		t.Error("a slot that is not in use is in the tree")
	}
	if !bytes.Equal(p["/soc/test@100000/phandle"], p["/reboot/regmap"]) || !bytes.Equal(p["/soc/plic@c000000/phandle"], p["/soc/serial@10000000/interrupt-parent"]) {
		t.Error("a handle does not meet its node")
	}
	tree.Layout.InitrdSize = 0
	if _, there := parse(t, tree.Encode())["/chosen/linux,initrd-start"]; there {
		t.Error("an initrd that is not there is in the tree")
	}
}

// Every slot has its own window, clear of the others, and its own source.
func TestVirtioSlotsAreDistinct(t *testing.T) {
	sources := map[uint32]bool{UARTIRQ: true, RTCIRQ: true}
	for n := range VirtioSlots {
		base, irq := VirtioSlot(n)
		if sources[irq] || irq == 0 || irq > plicSources || base < UARTBase+0x100 || base >= RAMBase {
			t.Errorf("slot %d at %#x with source %d", n, base, irq)
		}
		sources[irq] = true
	}
}

func image(size int, textOffset, memSize, flags uint64) []byte {
	k := make([]byte, size)
	binary.LittleEndian.PutUint64(k[8:], textOffset)
	binary.LittleEndian.PutUint64(k[16:], memSize)
	binary.LittleEndian.PutUint64(k[24:], flags)
	copy(k[0x38:], "RSC\x05")
	return k
}

func TestPlace(t *testing.T) {
	cfg := &machine.Config{Memory: 64 << 20, Kernel: image(1<<20, 2<<20, 3<<20, 0), Initrd: make([]byte, 5000)}
	l, err := Place(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Layout{Entry: 0x8020_0000, Kernel: 0x8020_0000, Initrd: 0x83ff_e000, InitrdSize: 5000, Tree: 0x83e0_0000}); l != want {
		t.Errorf("placed %+v, want %+v", l, want)
	}
	ram := mem.New(cfg.Memory)
	if err := Load(ram, cfg, l, []byte("tree")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	ram.Read(l.Tree, got)
	if string(got) != "tree" {
		t.Errorf("at the tree's place is %q", got)
	}
	if Load(ram, cfg, l, make([]byte, treeRoom+1)) == nil {
		t.Error("a tree that does not fit was written")
	}
}

// Firmware lies at the start of RAM and begins; what tells it of the kernel is
// clear of the tree, which firmware writes to in place.
func TestPlaceWithFirmware(t *testing.T) {
	cfg := &machine.Config{Memory: 64 << 20, Kernel: image(1<<20, 2<<20, 3<<20, 0), Initrd: make([]byte, 5000), Firmware: []byte("firmware")}
	l, err := Place(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := Layout{Entry: 0x8000_0000, Kernel: 0x8020_0000, Initrd: 0x83ff_e000, InitrdSize: 5000, Tree: 0x83e0_0000, Info: 0x83e1_0000}
	if l != want {
		t.Errorf("placed %+v, want %+v", l, want)
	}
	ram := mem.New(cfg.Memory)
	if err := Load(ram, cfg, l, []byte("tree")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if ram.Read(RAMBase, got); string(got) != "firmware" {
		t.Errorf("at the start of RAM is %q", got)
	}
	for i, v := range []uint64{0x4942534f, 2, 0x8020_0000, 1, 0, 0} {
		if got, _ := ram.Load64(l.Info + machine.GPA(8*i)); got != v {
			t.Errorf("word %d for fw_dynamic is %#x, want %#x", i, got, v)
		}
	}
	cfg.Firmware = make([]byte, 2<<20)
	if _, err := Place(cfg); err != nil {
		t.Errorf("firmware up to the kernel: %v", err)
	}
	cfg.Firmware = make([]byte, 2<<20+1)
	if _, err := Place(cfg); err == nil || !strings.Contains(err.Error(), "runs into the kernel") {
		t.Errorf("firmware into the kernel: %v", err)
	}
}

func TestPlaceRefuses(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		kernel []byte
		initrd int
		want   string
	}{
		"nothing":             {nil, 0, "no RISC-V Image"},
		"an ELF":              {append([]byte("\x7fELF"), make([]byte, 100)...), 0, "no RISC-V Image"},
		"big-endian":          {image(4096, 2*mib, 4096, 1), 0, "big-endian"},
		"too large in memory": {image(4096, 2*mib, 60*mib, 0), 0, "do not fit"},
		"absurd size":         {image(4096, 2*mib, 1<<63, 0), 0, "do not fit"},
		"absurd offset":       {image(4096, 1<<63, 4096, 0), 0, "do not fit"},
		"odd offset":          {image(4096, 100, 4096, 0), 0, "do not fit"},
		"no room for initrd":  {image(4096, 2*mib, 20*mib, 0), 10 * mib, "do not fit"},
		"initrd over all":     {image(4096, 2*mib, mib, 0), 40 * mib, "do not fit"},
	} {
		_, err := Place(&machine.Config{Memory: 32 * mib, Kernel: c.kernel, Initrd: make([]byte, c.initrd)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
