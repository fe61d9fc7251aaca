// Package rv64 is the vocabulary of the RV64GC instruction set: operations,
// pre-decoded instructions, CSR numbers, trap causes and status bits, and the
// decoder from encodings to instructions.
package rv64

// Inst is a pre-decoded instruction, 16 bytes.
type Inst struct {
	Op  Op
	Rd  uint8 // 0..31, an x or an f register
	Rs1 uint8
	Rs2 uint8
	Rs3 uint8 // fused multiply-add only
	Off uint8 // distance from the start of the block; the decoder leaves 0
	Len uint8 // 2 or 4 bytes
	Imm int32 // sign-extended immediate; CSR number for Zicsr; shift amount
	Raw uint32
}

// RM is the static rounding mode of a floating-point operation, 7 for dynamic.
func (in *Inst) RM() uint8 { return uint8(in.Raw>>12) & 7 }

// CSR is the register that a Zicsr operation names.
func (in *Inst) CSR() CSR { return CSR(in.Raw >> 20) }
