package conformance

// base is what every kind draws from.
var base = weights{
	{30, integerOp}, {8, constant}, {12, mulDiv}, {16, compressedOp}, {30, loadStore},
	{10, atomicOp}, {6, reserve}, {10, branch}, {8, jump}, {3, loop}, {4, trapping}, {3, csrOp},
}

var floats = weights{{60, floatOp}, {14, floatConstant}, {8, loadStore}, {6, integerOp}, {4, constant}, {6, csrOp}, {3, branch}}

func (w weights) and(more weights) weights { return append(append(weights{}, w...), more...) }

var kinds = []kind{
	{name: "machine mode", mode: modeM, weights: base.and(weights{{5, rewrite}, {5, interrupt}})},
	{name: "float", mode: modeM, weights: floats.and(weights{{1, floatOff}})},
	{name: "float in user mode", mode: modeU, weights: floats.and(base)},
	{name: "user mode", mode: modeU, weights: base.and(weights{{3, rewrite}, {2, interrupt}, {2, lower}, {2, fence}})},
	{name: "leaving machine mode", mode: modeM, delegated: true, weights: base.and(weights{{2, lower}, {8, interrupt}, {3, floatOff}})},
	{name: "supervisor mode", mode: modeS, delegated: true, weights: base.and(weights{{6, interrupt}, {3, lower}, {3, floatOff}, {3, status}})},
	{name: "Sv39 supervisor", mode: modeS, translated: true, weights: base.and(weights{{20, loadStore}, {12, retable}, {5, status}, {5, fence}, {8, rebase}})},
	{name: "Sv39 supervisor, delegated", mode: modeS, translated: true, delegated: true, weights: base.and(weights{{20, loadStore}, {12, retable}, {5, status}, {5, fence}, {8, rebase}, {3, interrupt}})},
	{name: "Sv39 user, delegated", mode: modeU, translated: true, delegated: true, weights: base.and(weights{{20, loadStore}, {8, rebase}, {2, fence}})},
	{name: "encodings", mode: modeU, translated: true, weights: weights{{60, encoding}, {10, constant}, {4, floatConstant}, {2, csrOp}, {4, rebase}}},
	{name: "encodings with Zba, Zbb, Zbs, Zicond", mode: modeU, translated: true, weights: weights{{40, encoding}, {20, bitOp}, {10, constant}}},
	{name: "Zba, Zbb, Zbs", mode: modeM, weights: weights{{40, bitOp}, {20, constant}, {20, integerOp}, {4, loop}}},
	{name: "Sv48 supervisor", wider: 1, mode: modeS, translated: true, weights: base.and(weights{{20, loadStore}, {12, retable}, {5, fence}, {8, rebase}})},
	{name: "Sv57 user", wider: 2, mode: modeU, translated: true, delegated: true, weights: base.and(weights{{20, loadStore}, {8, rebase}})},
	{name: "Zicond", needs: []feature{zicond}, mode: modeM, weights: weights{{40, conditional}, {20, constant}, {20, integerOp}, {4, loop}}},
	{name: "CSRs in machine mode", mode: modeM, counters: true, traps: true, weights: weights{{40, csrSweep}, {6, integerOp}, {4, trapped}, {2, branch}}},
	{name: "CSRs in supervisor mode", mode: modeS, counters: true, traps: true, delegated: true, weights: weights{{40, csrSweep}, {6, integerOp}, {6, trapped}, {2, branch}}},
	{name: "CSRs in user mode", mode: modeU, counters: true, weights: weights{{40, csrSweep}, {6, integerOp}, {4, trapped}, {2, branch}}},
	{name: "fetch", mode: modeM, weights: base.and(weights{{40, fetched}, {6, rewrite}})},
	{name: "fetch, Sv39 supervisor", mode: modeS, translated: true, delegated: true, weights: base.and(weights{{60, fetched}, {12, retable}, {4, rewrite}})},
	{name: "fetch, Sv39 user", mode: modeU, translated: true, weights: base.and(weights{{60, fetched}, {8, rebase}})},
	{name: "Sv39 without ADUE", needs: []feature{svadu}, noADUE: true, mode: modeS, translated: true, weights: base.and(weights{{20, loadStore}, {16, retable}, {5, status}, {8, rebase}, {12, fetched}})},
	{name: "Sv39 user without ADUE", needs: []feature{svadu}, noADUE: true, mode: modeU, translated: true, delegated: true, weights: base.and(weights{{20, loadStore}, {8, rebase}, {12, fetched}})},
	{name: "Sv39 with Svinval", needs: []feature{svinval}, mode: modeS, translated: true, weights: base.and(weights{{20, loadStore}, {16, retable}, {8, rebase}})},
	{name: "cache blocks", needs: []feature{zicbom, zicboz}, mode: modeM, weights: base.and(weights{{30, blockOp}})},
	{name: "cache blocks in supervisor mode", needs: []feature{zicbom, zicboz}, counters: true, mode: modeS, translated: true, weights: base.and(weights{{40, blockOp}, {8, rebase}, {8, retable}})},
	{name: "cache blocks in user mode", needs: []feature{zicbom, zicboz}, counters: true, mode: modeU, translated: true, delegated: true, weights: base.and(weights{{40, blockOp}, {8, rebase}})},
	{name: "waits on reservations", needs: []feature{zawrs}, traps: true, mode: modeS, weights: base.and(weights{{10, reservedWait}})},
	{name: "PMP in supervisor mode", pmp: true, mode: modeS, weights: base.and(weights{{30, loadStore}, {20, fetched}})},
	{name: "PMP, Sv39 user", pmp: true, mode: modeU, translated: true, delegated: true, weights: base.and(weights{{30, loadStore}, {20, fetched}, {8, rebase}})},
	{name: "PMP changed in machine mode", pmp: true, mode: modeM, translated: true, weights: base.and(weights{{30, machinePrivilege}, {10, reprotect}, {6, rebase}})},
	{name: "PMP, locked", pmp: true, locked: true, mode: modeM, weights: base.and(weights{{30, loadStore}, {20, fetched}})},
	{name: "Sv39 through MPRV", mode: modeM, translated: true, weights: base.and(weights{{20, machinePrivilege}, {5, status}, {8, rebase}})},
}

// calm programs are for user mode emulation, which has no trap handler of ours.
var calm = []kind{
	{name: "integers", calm: true, weights: weights{
		{30, integerOp}, {8, constant}, {12, mulDiv}, {16, compressedOp}, {30, loadStore},
		{10, atomicOp}, {6, reserve}, {10, branch}, {8, jump}, {3, loop}, {3, rewrite},
	}},
	{name: "floats", calm: true, weights: floats.and(weights{{4, loop}, {4, compressedOp}})},
}
