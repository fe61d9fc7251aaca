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
	{name: "encodings with Zba, Zbb, Zbs", bits: true, mode: modeU, translated: true, weights: weights{{40, encoding}, {20, bitOp}, {10, constant}}},
	{name: "Zba, Zbb, Zbs", bits: true, mode: modeM, weights: weights{{40, bitOp}, {20, constant}, {20, integerOp}, {4, loop}}},
	{name: "Sv48 supervisor", wider: 1, mode: modeS, translated: true, weights: base.and(weights{{20, loadStore}, {12, retable}, {5, fence}, {8, rebase}})},
	{name: "Sv57 user", wider: 2, mode: modeU, translated: true, delegated: true, weights: base.and(weights{{20, loadStore}, {8, rebase}})},
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
