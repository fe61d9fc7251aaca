package boot

import (
	"fmt"
	"strings"

	"github.com/lockstep-vm/lockstep/machine"
)

// Handles by which nodes name each other.
const (
	handleCPU = 1 + iota
	handleIntc
	handlePLIC
	handleSyscon
)

// Extensions is the hart's ISA as the device tree tells it, in the canonical
// order (unprivileged spec, chapter 37).
var Extensions = []string{
	"i", "m", "a", "f", "d", "c",
	"zicbom", "zicboz", "zicntr", "zicond", "zicsr", "zifencei", "zawrs", "zba", "zbb", "zbs",
	"sstc", "svadu", "svinval",
}

// cacheBlock is the size of a block of Zicbom and Zicboz in bytes.
const cacheBlock = 64

// Interrupts of the hart's local controller, as in scause and mcause.
const (
	softwareM = 3
	timerM    = 7
	externalS = 9
	externalM = 11
)

// plicSources is what the tree tells of the PLIC's size.
const plicSources = 63

// Tree is what varies between device trees.
type Tree struct {
	Memory  uint64 // bytes
	MMU     machine.MMU
	Cmdline string
	Virtio  int // slots in use, from the first
	Seed    [64]byte
	Layout  Layout
}

// Encode is the flattened device tree.
func (t Tree) Encode() []byte {
	f := newFDT()
	f.node("", func() {
		f.cells("#address-cells", 2)
		f.cells("#size-cells", 2)
		f.text("compatible", "riscv-virtio")
		f.text("model", "riscv-virtio,lockstep")
		t.chosen(f)
		f.node(unit("memory", RAMBase), func() {
			f.text("device_type", "memory")
			f.wide("reg", uint64(RAMBase), t.Memory)
		})
		t.cpus(f)
		f.node("soc", func() {
			f.cells("#address-cells", 2)
			f.cells("#size-cells", 2)
			f.text("compatible", "simple-bus")
			f.flag("ranges")
			t.soc(f)
		})
		power(f, "poweroff", "syscon-poweroff", 0x5555)
		power(f, "reboot", "syscon-reboot", 0x7777)
	})
	return f.finish()
}

func (t Tree) chosen(f *fdt) {
	f.node("chosen", func() {
		f.text("bootargs", t.Cmdline)
		f.text("stdout-path", "/soc/"+unit("serial", UARTBase))
		f.bytes("rng-seed", t.Seed[:])
		if t.Layout.InitrdSize > 0 {
			f.wide("linux,initrd-start", uint64(t.Layout.Initrd))
			f.wide("linux,initrd-end", uint64(t.Layout.Initrd)+t.Layout.InitrdSize)
		}
	})
}

func (t Tree) cpus(f *fdt) {
	f.node("cpus", func() {
		f.cells("#address-cells", 1)
		f.cells("#size-cells", 0)
		f.cells("timebase-frequency", machine.TimeBase)
		f.node("cpu@0", func() {
			f.text("device_type", "cpu")
			f.cells("reg", 0)
			f.text("status", "okay")
			f.text("compatible", "riscv")
			f.text("riscv,isa", isaString())
			f.text("riscv,isa-base", "rv64i")
			f.text("riscv,isa-extensions", Extensions...)
			f.cells("riscv,cbom-block-size", cacheBlock)
			f.cells("riscv,cboz-block-size", cacheBlock)
			f.text("mmu-type", "riscv,"+t.MMU.String())
			f.cells("phandle", handleCPU)
			f.node("interrupt-controller", func() {
				f.cells("#interrupt-cells", 1)
				f.flag("interrupt-controller")
				f.text("compatible", "riscv,cpu-intc")
				f.cells("phandle", handleIntc)
			})
		})
	})
}

// isaString is the older form of Extensions: single letters together, then
// names set off by underscores.
func isaString() string {
	s := "rv64"
	for _, e := range Extensions {
		if len(e) > 1 {
			s += "_"
		}
		s += e
	}
	return s
}

func (t Tree) soc(f *fdt) {
	f.node(unit("plic", PLICBase), func() {
		f.text("compatible", "sifive,plic-1.0.0", "riscv,plic0")
		f.wide("reg", uint64(PLICBase), 0x400_0000)
		f.cells("#address-cells", 0)
		f.cells("#interrupt-cells", 1)
		f.flag("interrupt-controller")
		f.cells("interrupts-extended", handleIntc, externalM, handleIntc, externalS)
		f.cells("riscv,ndev", plicSources)
		f.cells("phandle", handlePLIC)
	})
	f.node(unit("clint", CLINTBase), func() {
		f.text("compatible", "sifive,clint0", "riscv,clint0")
		f.wide("reg", uint64(CLINTBase), 0x1_0000)
		f.cells("interrupts-extended", handleIntc, softwareM, handleIntc, timerM)
	})
	f.node(unit("serial", UARTBase), func() {
		f.text("compatible", "ns16550a")
		f.wide("reg", uint64(UARTBase), 0x100)
		f.cells("clock-frequency", 3686400)
		f.cells("interrupt-parent", handlePLIC)
		f.cells("interrupts", UARTIRQ)
	})
	f.node(unit("rtc", RTCBase), func() {
		f.text("compatible", "google,goldfish-rtc")
		f.wide("reg", uint64(RTCBase), 0x1000)
		f.cells("interrupt-parent", handlePLIC)
		f.cells("interrupts", RTCIRQ)
	})
	f.node(unit("test", SysconBase), func() {
		f.text("compatible", "sifive,test1", "sifive,test0", "syscon")
		f.wide("reg", uint64(SysconBase), 0x1000)
		f.cells("phandle", handleSyscon)
	})
	for n := range t.Virtio {
		base, irq := VirtioSlot(n)
		f.node(unit("virtio_mmio", base), func() {
			f.text("compatible", "virtio,mmio")
			f.wide("reg", uint64(base), virtioWindow)
			f.cells("interrupt-parent", handlePLIC)
			f.cells("interrupts", irq)
		})
	}
}

func power(f *fdt, name, compatible string, value uint32) {
	f.node(name, func() {
		f.text("compatible", compatible)
		f.cells("regmap", handleSyscon)
		f.cells("offset", 0)
		f.cells("value", value)
	})
}

func unit(name string, base machine.GPA) string {
	return strings.ToLower(fmt.Sprintf("%s@%x", name, uint64(base)))
}
