package rv64

// fusedOps are by opcode bits 3:2, then by format (0 single, 1 double).
var fusedOps = [4][2]Op{{FMADDS, FMADDD}, {FMSUBS, FMSUBD}, {FNMSUBS, FNMSUBD}, {FNMADDS, FNMADDD}}

func (in *Inst) decodeFused() {
	if format := in.Raw >> 25 & 3; format <= 1 && in.validRM() {
		in.Op = fusedOps[in.Raw>>2&3][format]
		in.Rs3 = uint8(in.Raw >> 27)
	}
}

// validRM: the static rounding modes 5 and 6 are reserved. Whether the dynamic
// one is valid is known only when the operation executes.
func (in *Inst) validRM() bool { rm := in.RM(); return rm <= 4 || rm == 7 }

// arithmetic holds the operations with a rounding mode by funct5, for single
// and double.
var arithmetic = [4][2]Op{{FADDS, FADDD}, {FSUBS, FSUBD}, {FMULS, FMULD}, {FDIVS, FDIVD}}

var (
	signOps    = [2][3]Op{{FSGNJS, FSGNJNS, FSGNJXS}, {FSGNJD, FSGNJND, FSGNJXD}}
	minMaxOps  = [2][2]Op{{FMINS, FMAXS}, {FMIND, FMAXD}}
	compareOps = [2][3]Op{{FLES, FLTS, FEQS}, {FLED, FLTD, FEQD}}
	toIntOps   = [2][4]Op{{FCVTWS, FCVTWUS, FCVTLS, FCVTLUS}, {FCVTWD, FCVTWUD, FCVTLD, FCVTLUD}}
	fromIntOps = [2][4]Op{{FCVTSW, FCVTSWU, FCVTSL, FCVTSLU}, {FCVTDW, FCVTDWU, FCVTDL, FCVTDLU}}
	classOps   = [2]Op{FCLASSS, FCLASSD}
	toXOps     = [2]Op{FMVXW, FMVXD}
	fromXOps   = [2]Op{FMVWX, FMVDX}
)

func (in *Inst) decodeFloat(funct3 uint32) {
	format := in.Raw >> 25 & 3
	if format > 1 {
		return
	}
	op := ILLEGAL
	switch funct5 := in.Raw >> 27; funct5 {
	case 0x00, 0x01, 0x02, 0x03:
		if in.validRM() {
			op = arithmetic[funct5][format]
		}
	case 0x0B:
		if in.validRM() && in.Rs2 == 0 {
			op = [2]Op{FSQRTS, FSQRTD}[format]
		}
	case 0x04:
		if funct3 <= 2 {
			op = signOps[format][funct3]
		}
	case 0x05:
		if funct3 <= 1 {
			op = minMaxOps[format][funct3]
		}
	case 0x14:
		if funct3 <= 2 {
			op = compareOps[format][funct3]
		}
	case 0x08:
		if in.validRM() && format == 0 && in.Rs2 == 1 {
			op = FCVTSD
		}
		if in.validRM() && format == 1 && in.Rs2 == 0 {
			op = FCVTDS
		}
	case 0x18:
		if in.validRM() && in.Rs2 <= 3 {
			op = toIntOps[format][in.Rs2]
		}
	case 0x1A:
		if in.validRM() && in.Rs2 <= 3 {
			op = fromIntOps[format][in.Rs2]
		}
	case 0x1C:
		if in.Rs2 == 0 && funct3 == 0 {
			op = toXOps[format]
		}
		if in.Rs2 == 0 && funct3 == 1 {
			op = classOps[format]
		}
	case 0x1E:
		if in.Rs2 == 0 && funct3 == 0 {
			op = fromXOps[format]
		}
	}
	in.Op = op
}
