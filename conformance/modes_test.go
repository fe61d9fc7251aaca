package conformance

import "github.com/lockstep-vm/lockstep/machine/rv64/asm"

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
		return item{"mret", func(c *scope) {
			c.LI(v, 0x18a0)
			c.CSRRC(asm.Zero, asm.MSTATUS, v)
			c.LI(v, int64(uint64(to)<<11|enable))
			c.CSRRS(asm.Zero, asm.MSTATUS, v)
			c.LA(t, c.after(0))
			c.CSRW(asm.MEPC, t)
			c.MRET()
		}}
	}
	return item{"sret", func(c *scope) {
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
		return item{"mie, mip", func(c *scope) {
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
	return item{"sie, sip", func(c *scope) {
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
	return item{"sum, mxr", func(c *scope) {
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
	return item{"fs off, " + body.name, func(c *scope) {
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
	return item{"mprv " + body.name, func(c *scope) {
		c.LI(v, 3<<11)
		c.CSRRC(asm.Zero, asm.MSTATUS, v)
		c.LI(v, int64(as)<<11|1<<17)
		c.CSRRS(asm.Zero, asm.MSTATUS, v)
		body.emit(c)
		c.LI(v, 1<<17)
		c.CSRRC(asm.Zero, asm.MSTATUS, v)
	}}
}

// retable changes an entry of the leaf table, or the superpage's, with a fence,
// and reads it back: accessed and dirty bits show.
func retable(r *random, g *program) item {
	t, v, rd := r.temp(), r.temp(), r.dst()
	for v == t {
		v = r.temp()
	}
	entry, bits, how, mega := r.IntN(pagesN), r.pte(g.mode), r.IntN(4), r.one(5)
	page := uint64(r.IntN(4))
	if mega {
		bits = r.superpage(g.mode)
	}
	return item{"page table", func(c *scope) {
		at := c.slot + pageTables + 0x2000 + 8*uint64(entry)
		pte := (c.slot+window+page<<12)>>12<<10 | bits
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
		c.SFENCEVMA(asm.Zero, asm.Zero)
	}}
}

// fence is SFENCE.VMA in one of its forms, with a new ASID in front perhaps.
func fence(r *random, g *program) item {
	a, b, t, asid := r.src(), r.src(), r.temp(), int64(r.IntN(4))
	change := g.translated && r.one(2)
	return item{"satp, sfence.vma", func(c *scope) {
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
	return item{"window", func(c *scope) { c.useWindow(mega) }}
}
