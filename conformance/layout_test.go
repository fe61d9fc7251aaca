package conformance

import "github.com/lockstep-vm/lockstep/machine/rv64/asm"

// The image: the loader's page, then slots.
const (
	ramBase  = 0x8000_0000
	ramSize  = 32 << 20
	syscon   = 0x10_0000 // writing 0x5555 ends the run
	slotSize = 1 << 17
	maxSlots = 127 // the upper half stays free: QEMU puts a device tree there
	slotBase = ramBase + slotSize
	imageLen = (maxSlots + 1) * slotSize

	// The loader's variables.
	varCount = 0
	varIndex = 8
	varBase  = ramBase + 0x10000
)

// Offsets in a slot.
const (
	// Input.
	inX       = 0x0000 // 32 registers
	inF       = 0x0100
	inMstatus = 0x0200
	inSatp    = 0x0208
	inMedeleg = 0x0210
	inMideleg = 0x0218
	inStvec   = 0x0220
	inFcsr    = 0x0228
	inEnd     = 0x0230 // address of the ECALL that ends the program
	inPC      = 0x0238
	inSscr    = 0x0240 // sscratch: the save area as S mode sees it
	inMcen    = 0x0248
	inScen    = 0x0250
	inMenv    = 0x0258
	inSenv    = 0x0260
	inPmpcfg  = 0x0270 // 16 bytes
	inPmpaddr = 0x0280 // 16 registers

	// Save areas of the two handlers.
	saveM = 0x0400
	saveS = 0x0500

	// Output.
	outX     = 0x0600
	outF     = 0x0700
	outCSRs  = 0x0800
	outTraps = 0x0a00 // count
	trapLog  = 0x1000 // entries of 32 bytes
	maxTraps = 128

	pageTables = 0x2000 // root, middle, leaf
	root4      = 0x5000 // Sv48
	root5      = 0x6000 // Sv57
	window     = 0x8000 // windowSize bytes and a page behind it
	windowSize = 0x4000
	code       = 0x10000
	codeSize   = fetch - code
	fetch      = 0x1c000 // small pieces of code to jump to, see fetch_test.go
	fetchSize  = 0x4000
)

// Fields of a save area.
const (
	saveTmp   = 0x00 // five registers
	saveSlot  = 0x40 // address of the slot as the handler sees it
	saveCode  = 0x48 // address of the code as the program sees it
	saveDelta = 0x50 // what to add to a PC of the program to read its code
)

// csrsOut are stored by the epilogue, in this order.
var csrsOut = []asm.CSR{asm.FCSR, asm.SSTATUS, asm.SEPC, asm.SCAUSE, asm.STVAL, asm.SSCRATCH, asm.STVEC,
	asm.MEPC, asm.MIE, asm.MIP, asm.MEDELEG, asm.MIDELEG, asm.SATP}

// Addresses of a program.
const (
	hole       = 0x0800_0000    // neither machine has anything here
	aliasBit   = 0x1_0000_0000  // Sv39: RAM once more, for supervisor mode, writable
	pagesVA    = 0x3f_c020_0000 // Sv39: sixteen pages on the window
	pagesN     = 16
	fetchVA    = pagesVA + pagesN<<12 // Sv39: eight pages on the pages of fetch
	fetchPages = 8
	megaVA     = 0x3f_c040_0000 // Sv39: one superpage on the 2 MiB around the slot
)

// loader assembles the code that runs the slots one after another; strap is
// the physical address of the supervisor's trap handler.
func loader() (code []byte, strap uint64) {
	p := asm.New(ramBase)
	p.Label("next")
	p.LI(asm.S0, varBase)
	p.LD(asm.T0, varIndex-varCount, asm.S0)
	p.LD(asm.T1, 0, asm.S0)
	p.BEQ(asm.T0, asm.T1, "off")
	p.ADDI(asm.T1, asm.T0, 1)
	p.SD(asm.T1, varIndex-varCount, asm.S0)
	p.SLLI(asm.T0, asm.T0, 17)
	p.LI(asm.S1, slotBase)
	p.ADD(asm.S1, asm.S1, asm.T0) // the slot
	p.ADDI(asm.T0, asm.S1, saveM)
	p.CSRW(asm.MSCRATCH, asm.T0)
	p.LA(asm.T0, "trap")
	p.CSRW(asm.MTVEC, asm.T0)
	p.CSRW(asm.MIE, asm.Zero)
	p.CSRW(asm.MIP, asm.Zero)
	p.CSRW(asm.MCOUNTINHIBIT, asm.Zero)
	p.LI(asm.T0, -1)
	p.CSRW(asm.STIMECMP, asm.T0)
	p.CSRW(asm.PMPCFG0, asm.Zero)
	p.CSRW(pmpcfg2, asm.Zero)
	for i := range pmpEntries {
		p.LD(asm.T0, inPmpaddr+8*int64(i), asm.S1)
		p.CSRW(asm.PMPADDR0+asm.CSR(i), asm.T0)
	}
	p.LI(asm.T0, 3<<13) // FS: on, whatever the program will have
	p.CSRRS(asm.Zero, asm.MSTATUS, asm.T0)
	for r := asm.FT0; r <= asm.FT11; r++ {
		p.FLD(r, inF+8*int64(r), asm.S1)
	}
	for _, c := range []struct {
		csr asm.CSR
		at  int64
	}{{asm.FCSR, inFcsr}, {asm.SATP, inSatp}, {asm.MEDELEG, inMedeleg}, {asm.MIDELEG, inMideleg},
		{asm.PMPCFG0, inPmpcfg}, {pmpcfg2, inPmpcfg + 8}, {asm.MCOUNTEREN, inMcen}, {asm.SCOUNTEREN, inScen},
		{asm.MENVCFG, inMenv}, {asm.SENVCFG, inSenv},
		{asm.STVEC, inStvec}, {asm.SSCRATCH, inSscr}, {asm.MEPC, inPC}, {asm.MSTATUS, inMstatus}} {
		p.LD(asm.T0, c.at, asm.S1)
		p.CSRW(c.csr, asm.T0)
	}
	p.CSRW(asm.SEPC, asm.Zero)
	p.CSRW(asm.SCAUSE, asm.Zero)
	p.CSRW(asm.STVAL, asm.Zero)
	p.SFENCEVMA(asm.Zero, asm.Zero)
	p.FENCEI()
	for r := asm.RA; r <= asm.T6; r++ {
		if r != asm.S1 {
			p.LD(r, inX+8*int64(r), asm.S1)
		}
	}
	p.LD(asm.S1, inX+8*int64(asm.S1), asm.S1)
	p.MRET()

	p.Label("off")
	p.LI(asm.T0, syscon)
	p.LI(asm.T1, 0x5555)
	p.SW(asm.T1, 0, asm.T0)
	p.Label("stop")
	p.J("stop")

	machineHandler(p)
	p.Align(4)
	p.Label("strap")
	handler(p, "s", asm.SSCRATCH, asm.SEPC, asm.SCAUSE, asm.STVAL)
	p.SRET()
	return p.Bytes(), p.Addr("strap")
}

// machineHandler ends the program at its last ECALL and logs all other traps.
func machineHandler(p *asm.Program) {
	p.Align(4)
	p.Label("trap")
	handler(p, "m", asm.MSCRATCH, asm.MEPC, asm.MCAUSE, asm.MTVAL)
	p.MRET()

	p.Label("epilogue") // SP is the save area, MSCRATCH the program's SP
	p.LD(asm.SP, saveSlot, asm.SP)
	for r := asm.RA; r <= asm.T6; r++ {
		if r != asm.SP {
			p.SD(r, outX+8*int64(r), asm.SP)
		}
	}
	p.CSRR(asm.T0, asm.MSCRATCH)
	p.SD(asm.T0, outX+8*int64(asm.SP), asm.SP)
	// FCSR and the F registers need the unit on; what the program left of
	// mstatus is kept first.
	p.LI(asm.T1, outCSRs)
	p.ADD(asm.T1, asm.T1, asm.SP)
	p.CSRR(asm.T2, asm.SSTATUS)
	p.LI(asm.T0, 3<<13)
	p.CSRRS(asm.Zero, asm.MSTATUS, asm.T0)
	for i, c := range csrsOut {
		if c == asm.SSTATUS {
			p.SD(asm.T2, 8*int64(i), asm.T1)
			continue
		}
		p.CSRR(asm.T0, c)
		p.SD(asm.T0, 8*int64(i), asm.T1)
	}
	p.LI(asm.T1, outF)
	p.ADD(asm.T1, asm.T1, asm.SP)
	for r := asm.FT0; r <= asm.FT11; r++ {
		p.FSD(r, 8*int64(r), asm.T1)
	}
	p.CSRW(asm.SATP, asm.Zero)
	p.J("next")
}

// handler logs a trap and goes on behind the instruction, or where RA points
// if the PC lies outside the program. An interrupt is logged and disabled. It
// ends before its xRET.
func handler(p *asm.Program, m string, scratch, epc, cause, tval asm.CSR) {
	machine := m == "m"
	p.CSRRW(asm.SP, scratch, asm.SP)
	temps := []asm.Reg{asm.T0, asm.T1, asm.T2, asm.T3}
	for i, r := range temps {
		p.SD(r, saveTmp+8*int64(i), asm.SP)
	}
	p.LD(asm.T0, saveSlot, asm.SP)
	if machine {
		p.CSRR(asm.T1, epc)
		p.LD(asm.T2, inEnd, asm.T0)
		p.BNE(asm.T1, asm.T2, m+"log")
		for i, r := range temps {
			p.LD(r, saveTmp+8*int64(i), asm.SP)
		}
		p.J("epilogue")
	}

	p.Label(m + "log")
	p.LI(asm.T3, outTraps)
	p.ADD(asm.T3, asm.T3, asm.T0)
	p.LD(asm.T1, 0, asm.T3)
	p.ADDI(asm.T2, asm.T1, 1)
	p.SD(asm.T2, 0, asm.T3)
	p.LI(asm.T2, maxTraps)
	p.BGEU(asm.T1, asm.T2, m+"skip")
	p.SLLI(asm.T1, asm.T1, 5)
	p.ADD(asm.T0, asm.T0, asm.T1)
	p.LI(asm.T1, trapLog)
	p.ADD(asm.T0, asm.T0, asm.T1)
	p.CSRR(asm.T1, cause)
	p.SD(asm.T1, 0, asm.T0)
	p.CSRR(asm.T1, epc)
	p.SD(asm.T1, 8, asm.T0)
	p.CSRR(asm.T1, tval)
	p.SD(asm.T1, 16, asm.T0)
	if machine {
		p.CSRR(asm.T1, asm.MSTATUS)
		p.LI(asm.T2, 0xe19aa) // MPRV, MXR, SUM, MPP, SPP and the interrupt enables
		p.AND(asm.T1, asm.T1, asm.T2)
	} else {
		p.CSRR(asm.T1, asm.SSTATUS)
		p.LI(asm.T2, 0xc0122) // MXR, SUM, SPP, SPIE, SIE
		p.AND(asm.T1, asm.T1, asm.T2)
		p.ORI(asm.T1, asm.T1, 1) // says whose entry this is
	}
	p.SD(asm.T1, 24, asm.T0)

	p.Label(m + "skip")
	p.CSRR(asm.T1, cause)
	p.BGE(asm.T1, asm.Zero, m+"exception")
	if machine {
		p.CSRW(asm.MIE, asm.Zero)
	} else {
		p.CSRW(asm.SIE, asm.Zero)
		p.CSRW(cause, asm.Zero)
	}
	p.J(m + "back")

	p.Label(m + "exception")
	if !machine {
		// The log has them; a program shall not see what may differ.
		p.CSRW(cause, asm.Zero)
		p.CSRW(tval, asm.Zero)
	}
	p.CSRR(asm.T0, epc)
	p.LD(asm.T1, saveCode, asm.SP)
	p.SUB(asm.T1, asm.T0, asm.T1)
	p.LI(asm.T2, codeSize)
	p.BGEU(asm.T1, asm.T2, m+"outside")
	p.LD(asm.T1, saveDelta, asm.SP)
	p.ADD(asm.T1, asm.T0, asm.T1)
	p.LHU(asm.T1, 0, asm.T1)
	p.ANDI(asm.T1, asm.T1, 3)
	p.ADDI(asm.T0, asm.T0, 2)
	p.LI(asm.T2, 3)
	p.BNE(asm.T1, asm.T2, m+"set")
	p.ADDI(asm.T0, asm.T0, 2)
	p.J(m + "set")
	p.Label(m + "outside")
	p.MV(asm.T0, asm.RA)
	p.Label(m + "set")
	p.CSRW(epc, asm.T0)

	p.Label(m + "back")
	for i, r := range temps {
		p.LD(r, saveTmp+8*int64(i), asm.SP)
	}
	p.CSRRW(asm.SP, scratch, asm.SP)
}
