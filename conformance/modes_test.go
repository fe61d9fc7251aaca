package conformance

import (
	"slices"

	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// lower leaves machine mode, or returns to any mode at or below the present
// one, with interrupts enabled or not.
func lower(r *random, g *program) item {
	t, v := r.temp(), r.temp()
	for v == t {
		v = r.temp()
	}
	to := choose(r, modeU, modeS, modeM)
	enable := r.Uint64() & 0xa0
	if g.mode == modeM && r.one(2) {
		return item{name: "mret", emit: func(c *scope) {
			c.LI(v, 0x18a0)
			c.CSRRC(asm.Zero, asm.MSTATUS, v)
			c.LI(v, int64(uint64(to)<<11|enable))
			c.CSRRS(asm.Zero, asm.MSTATUS, v)
			c.LA(t, c.after(0))
			c.CSRW(asm.MEPC, t)
			c.MRET()
		}}
	}
	return item{name: "sret", emit: func(c *scope) {
		c.LI(v, 0x120)
		c.CSRRC(asm.Zero, asm.SSTATUS, v)
		c.LI(v, int64(enable&0x20))
		if to != modeU && g.mode != modeU {
			c.ORI(v, v, 0x100)
		}
		c.CSRRS(asm.Zero, asm.SSTATUS, v)
		c.LA(t, c.after(0))
		c.CSRW(asm.SEPC, t)
		c.SRET()
	}}
}

// interrupt makes a software-writable interrupt pending and enables some: it is
// taken at once, or when the mode changes. A program uses one of the three.
func interrupt(r *random, g *program) item {
	t, enable, pend := r.temp(), int64(r.Uint64()&0x222), g.line
	rd := r.dst()
	if g.mode == modeM && r.one(2) {
		set := r.one(2)
		return item{name: "mie, mip", emit: func(c *scope) {
			c.LI(t, enable)
			c.CSRW(asm.MIE, t)
			c.LI(t, pend)
			if set {
				c.CSRRS(rd, asm.MIP, t)
			} else {
				c.CSRW(asm.MIP, t)
			}
			c.CSRRSI(asm.Zero, asm.MSTATUS, 8)
			c.CSRR(rd, asm.MIP)
		}}
	}
	return item{name: "sie, sip", emit: func(c *scope) {
		c.LI(t, enable)
		c.CSRRW(rd, asm.SIE, t)
		c.LI(t, pend)
		c.CSRRW(rd, asm.SIP, t)
		c.CSRRSI(asm.Zero, asm.SSTATUS, 2)
		c.CSRR(rd, asm.SIP)
	}}
}

// status changes what loads and stores of supervisor mode may do, and looks.
func status(r *random, _ *program) item {
	t, rd, bits, clear := r.temp(), r.dst(), int64(r.Uint64()&(3<<18)), r.one(2)
	return item{name: "sum, mxr", emit: func(c *scope) {
		c.LI(t, bits)
		if clear {
			c.CSRRC(rd, asm.SSTATUS, t)
		} else {
			c.CSRRS(rd, asm.SSTATUS, t)
		}
		// FS becomes dirty when we do and when QEMU does: at other times.
		c.LI(t, 3<<13|-1<<63)
		c.XORI(t, t, -1)
		c.AND(rd, rd, t)
	}}
}

// floatOff switches the unit off for one operation.
func floatOff(r *random, g *program) item {
	t, body := r.temp(), choose[maker](r, floatOp, csrOp)(r, g)
	return item{name: "fs off, " + body.name, emit: func(c *scope) {
		c.LI(t, 3<<13)
		c.CSRRC(asm.Zero, asm.SSTATUS, t)
		body.emit(c)
		c.LI(t, 3<<13)
		c.CSRRS(asm.Zero, asm.SSTATUS, t)
	}}
}

// machinePrivilege lets machine mode load and store as another mode.
func machinePrivilege(r *random, g *program) item {
	v, as := r.temp(), choose(r, modeU, modeS, modeM)
	body := loadStore(r, g)
	return item{name: "mprv " + body.name, emit: func(c *scope) {
		c.LI(v, 3<<11)
		c.CSRRC(asm.Zero, asm.MSTATUS, v)
		c.LI(v, int64(as)<<11|1<<17)
		c.CSRRS(asm.Zero, asm.MSTATUS, v)
		body.emit(c)
		c.LI(v, 1<<17)
		c.CSRRC(asm.Zero, asm.MSTATUS, v)
	}}
}

// invalidate orders a change of the page tables: SFENCE.VMA, or the sequence
// of Svinval that stands for it.
func (c *scope) invalidate(svinval bool) {
	if !svinval {
		c.SFENCEVMA(asm.Zero, asm.Zero)
		return
	}
	c.SFENCEWINVAL()
	c.SINVALVMA(asm.Zero, asm.Zero)
	c.SFENCEINVALIR()
}

// retable changes an entry of the leaf table, or the superpage's, with a fence,
// and reads it back: accessed and dirty bits show.
func retable(r *random, g *program) item {
	t, v, rd := r.temp(), r.temp(), r.dst()
	for v == t {
		v = r.temp()
	}
	entry, bits, how, mega := r.IntN(pagesN), r.pte(g.mode), r.IntN(4), r.one(5)
	if r.one(4) {
		entry = pagesN + r.IntN(fetchPages)
	}
	page, inval := uint64(r.IntN(4)), slices.Contains(g.needs, svinval) && r.one(2)
	if mega {
		bits = r.superpage(g.mode)
	}
	i := item{name: "page table", emit: func(c *scope) {
		at := c.slot + pageTables + 0x2000 + 8*uint64(entry)
		pte := (c.slot+window+page<<12)>>12<<10 | bits
		if entry >= pagesN {
			pte = (c.slot+fetch+page<<12)>>12<<10 | g.fetchable(bits&^pteW)
		}
		if mega {
			at = c.slot + pageTables + 0x1000 + 8*(megaVA>>21&511)
			pte = c.slot&^0x1fffff>>12<<10 | bits
		}
		c.LI(t, int64(at|aliasBit))
		c.LI(v, int64(pte))
		switch how {
		case 0:
			c.LD(rd, 0, t)
			c.ANDI(rd, rd, ^g.looseBits(pteX))
		case 1:
			c.AMOSWAPD(rd, v, t)
			c.ANDI(rd, rd, ^g.looseBits(pteX))
		case 2:
			c.SB(v, 0, t)
		default:
			c.SD(v, 0, t)
		}
		c.invalidate(inval)
	}}
	if how < 2 {
		return r.folded(i, rd)
	}
	return i
}

// fence is SFENCE.VMA in one of its forms, with a new ASID in front perhaps.
func fence(r *random, g *program) item {
	a, b, t, asid := r.src(), r.src(), r.temp(), int64(r.IntN(4))
	change := g.translated && r.one(2)
	return item{name: "satp, sfence.vma", emit: func(c *scope) {
		if change {
			c.LI(t, int64(g.satp(c.slot))|asid<<44)
			c.CSRW(asm.SATP, t)
			c.SFENCEVMA(asm.Zero, asm.Zero)
		}
		c.SFENCEVMA(a, b)
	}}
}

// rebase switches between the pages and the superpage.
func rebase(r *random, _ *program) item {
	mega := r.one(3)
	return item{name: "window", emit: func(c *scope) { c.useWindow(mega) }}
}

// trapped draws what mstatus.TVM, TW and TSR trap, or the mode. WFI stands only
// where it traps, or where an interrupt is pending already.
func trapped(r *random, g *program) item {
	a, b, t := r.src(), r.src(), r.temp()
	waits := g.mode != modeU && g.mstatus&(1<<21) == 0
	switch r.IntN(5) {
	case 0:
		return item{name: "sfence.vma", emit: func(c *scope) { c.SFENCEVMA(a, b) }}
	case 1:
		return item{name: "satp", emit: func(c *scope) { c.CSRR(t, asm.SATP); c.CSRW(asm.SATP, asm.Zero) }}
	case 2:
		if g.mode == modeM {
			// The timer's interrupt is pending from the start.
			return item{name: "wfi", emit: func(c *scope) {
				c.CSRRCI(asm.Zero, asm.MSTATUS, 8)
				c.LI(t, 1<<7)
				c.CSRW(asm.MIE, t)
				c.wfi()
				c.CSRW(asm.MIE, asm.Zero)
			}}
		}
		if !waits {
			return item{name: "wfi", emit: func(c *scope) { c.wfi() }}
		}
	case 3:
		if slices.Contains(g.lacks, svinval) {
			break
		}
		if g.mode != modeM { // QEMU runs the two fences in user mode, too
			return item{name: "sinval.vma", emit: func(c *scope) { c.SINVALVMA(a, b) }}
		}
		return item{name: "svinval", emit: func(c *scope) { c.SFENCEWINVAL(); c.SINVALVMA(a, b); c.SFENCEINVALIR() }}
	}
	if g.mode == modeM { // stays there
		return item{name: "satp", emit: func(c *scope) { c.CSRR(t, asm.SATP) }}
	}
	return lower(r, g)
}

// wfi is WFI, not at the end of a page: where it traps there, QEMU 10 takes epc
// from the page behind.
func (c *scope) wfi() {
	for c.PC()%4096 >= 4092 {
		c.CNOP()
	}
	c.WFI()
}

// reservedWait is LR, a wait for the reservation to be lost, which may end at
// any time. Whether the wait ends the reservation is open: an SC that stores
// what is there takes away what is left of it.
func reservedWait(r *random, g *program) item {
	rd, short := r.temp(), r.one(2) || g.mstatus&(1<<21) != 0 // with TW the other may trap
	return r.folded(item{name: "wrs", emit: func(c *scope) {
		c.LRD(rd, asm.S10)
		if short {
			c.WRSSTO()
		} else {
			c.WRSNTO()
		}
		c.SCD(asm.Zero, rd, asm.S10)
	}}, rd)
}

// blockOp draws an operation on a cache block.
func blockOp(r *random, g *program) item {
	var ops []func(p *prog, addr asm.Reg)
	for _, o := range []struct {
		feature
		emit func(p *prog, addr asm.Reg)
	}{{zicbom, (*prog).CBOINVAL}, {zicbom, (*prog).CBOCLEAN}, {zicbom, (*prog).CBOFLUSH}, {zicboz, (*prog).CBOZERO}, {zicboz, (*prog).CBOZERO}} {
		if !slices.Contains(g.lacks, o.feature) {
			ops = append(ops, o.emit)
		}
	}
	op, rs, t, mapped := choose(r, ops...), r.src(), r.temp(), !g.translated || !r.one(20)
	va := int64(r.integer())
	return item{name: "cbo", emit: func(c *scope) {
		c.AND(t, rs, asm.S9)
		c.ADD(t, t, asm.S10)
		if !mapped && g.mode != modeM {
			c.LI(t, va)
		}
		op(c.Program, t)
	}}
}
