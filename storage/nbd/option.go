package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
)

// Info is what a server tells about an export (OptInfo, OptGo).
type Info struct {
	Size  uint64 // bytes
	Flags uint16 // transmission flags
	// Block sizes in bytes; what a server that tells none is taken to have.
	MinBlock, PreferredBlock, MaxPayload uint32
}

// AppendExport encodes the body of InfoExport.
func (i Info) AppendExport(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, InfoExport)
	b = binary.BigEndian.AppendUint64(b, i.Size)
	return binary.BigEndian.AppendUint16(b, i.Flags)
}

// AppendBlockSize encodes the body of InfoBlockSize.
func (i Info) AppendBlockSize(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, InfoBlockSize)
	b = binary.BigEndian.AppendUint32(b, i.MinBlock)
	b = binary.BigEndian.AppendUint32(b, i.PreferredBlock)
	return binary.BigEndian.AppendUint32(b, i.MaxPayload)
}

// merge takes the body of one RepInfo over. It says whether it was InfoExport;
// other types than ours to know are passed over, as the protocol wants.
func (i *Info) merge(body []byte) (export bool, err error) {
	if len(body) < 2 {
		return false, errShort
	}
	kind, b := binary.BigEndian.Uint16(body), body[2:]
	switch kind {
	case InfoExport:
		if len(b) != 10 {
			return false, fmt.Errorf("nbd: an export's description of %d bytes; want 10", len(b))
		}
		i.Size, i.Flags = binary.BigEndian.Uint64(b), binary.BigEndian.Uint16(b[8:])
		return true, nil
	case InfoBlockSize:
		if len(b) != 12 {
			return false, fmt.Errorf("nbd: block sizes of %d bytes; want 12", len(b))
		}
		i.MinBlock, i.PreferredBlock, i.MaxPayload = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	}
	return false, nil
}

// check refuses what a disk cannot be made of.
func (i Info) check() error {
	switch {
	case i.Flags&HasFlags == 0:
		return errors.New("nbd: the server sends no transmission flags; it is none that this protocol describes")
	case i.Size == 0 || i.Size%512 != 0 || i.Size > 1<<62:
		return fmt.Errorf("nbd: the export has %d bytes; a disk is a positive multiple of 512", i.Size)
	case i.MinBlock == 0 || i.MinBlock&(i.MinBlock-1) != 0 || i.MinBlock > 4096:
		return fmt.Errorf("nbd: the server's smallest block has %d bytes; disks have blocks of 512 or 4096", i.MinBlock)
	case i.Size%uint64(i.blockSize()) != 0:
		return fmt.Errorf("nbd: the export has %d bytes, which is no multiple of its blocks of %d", i.Size, i.blockSize())
	case i.MaxPayload < i.blockSize():
		return fmt.Errorf("nbd: the server takes requests of at most %d bytes, which is less than a block", i.MaxPayload)
	}
	return nil
}

// blockSize is the smallest unit of access of a disk on this export: 512 or 4096.
func (i Info) blockSize() uint32 {
	if i.MinBlock > 512 {
		return 4096
	}
	return 512
}

// Select is the data of OptInfo and OptGo.
type Select struct {
	Export string
	Wants  []uint16 // information types
}

// Append encodes s behind b.
func (s Select) Append(b []byte) []byte {
	b = AppendString(b, s.Export)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Wants)))
	for _, w := range s.Wants {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	return b
}

// ParseSelect decodes the data of OptInfo and OptGo.
func ParseSelect(b []byte) (s Select, err error) {
	if s.Export, b, err = cutString(b); err != nil {
		return s, err
	}
	if len(b) < 2 || len(b) != 2+2*int(binary.BigEndian.Uint16(b)) {
		return s, errors.New("nbd: the list of wanted information has another length than it says")
	}
	for b = b[2:]; len(b) > 0; b = b[2:] {
		s.Wants = append(s.Wants, binary.BigEndian.Uint16(b))
	}
	return s, nil
}

// Fence is the data of OptFence: who asks for an export, and with what number.
type Fence struct {
	// Reader asks to read only, beside the VM's writer; Number means nothing.
	Reader  bool
	Process ft.ProcessID
	Number  ft.Fence
	Export  string
	VM      string
}

const fenceFixed = 1 + 16 + 8 + 8

// Append encodes f behind b.
func (f Fence) Append(b []byte) []byte {
	kind := byte(0)
	if f.Reader {
		kind = 1
	}
	b = append(append(b, kind), f.Process[:]...)
	b = binary.BigEndian.AppendUint64(b, f.Number.Run)
	b = binary.BigEndian.AppendUint64(b, f.Number.Number)
	return AppendString(AppendString(b, f.Export), f.VM)
}

// ParseFence decodes the data of OptFence.
func ParseFence(b []byte) (f Fence, err error) {
	if len(b) < fenceFixed {
		return f, errShort
	}
	if b[0] > 1 {
		return f, fmt.Errorf("nbd: a fence of kind %d; there are 0, a claim, and 1, a reader", b[0])
	}
	f.Reader = b[0] == 1
	copy(f.Process[:], b[1:])
	f.Number = ft.Fence{Run: binary.BigEndian.Uint64(b[17:]), Number: binary.BigEndian.Uint64(b[25:])}
	if f.Export, b, err = cutString(b[fenceFixed:]); err != nil {
		return f, err
	}
	if f.VM, b, err = cutString(b); err != nil {
		return f, err
	}
	return f, ended(b)
}

// Release is the data of OptRelease.
type Release struct{ Export, VM string }

// Append encodes r behind b.
func (r Release) Append(b []byte) []byte { return AppendString(AppendString(b, r.Export), r.VM) }

// ParseRelease decodes the data of OptRelease.
func ParseRelease(b []byte) (r Release, err error) {
	if r.Export, b, err = cutString(b); err != nil {
		return r, err
	}
	if r.VM, b, err = cutString(b); err != nil {
		return r, err
	}
	return r, ended(b)
}

// CellOp is what OptCells asks of the store's cells.
type CellOp uint8

// The operations. Numbers are for ever.
const (
	CellPing    CellOp = 1
	CellDurable CellOp = 2 // the answer: empty, or why not
	CellCreate  CellOp = 3 // the answer: what the cell has
	CellRead    CellOp = 4 // the answer: 1 and what the cell has, or 0
	CellList    CellOp = 5 // the answer: names, each with its length before it
)

// CellCall is the data of OptCells. Name is a prefix for CellList.
type CellCall struct {
	Op       CellOp
	VM, Name string
	Content  []byte
}

// Append encodes c behind b.
func (c CellCall) Append(b []byte) []byte {
	return append(AppendString(AppendString(append(b, byte(c.Op)), c.VM), c.Name), c.Content...)
}

// ParseCellCall decodes the data of OptCells.
func ParseCellCall(b []byte) (c CellCall, err error) {
	if len(b) < 1 {
		return c, errShort
	}
	c.Op = CellOp(b[0])
	if c.Op < CellPing || c.Op > CellList {
		return c, fmt.Errorf("nbd: operation %d on cells; this store knows 1 to 5", c.Op)
	}
	if c.VM, b, err = cutString(b[1:]); err != nil {
		return c, err
	}
	if c.Name, b, err = cutString(b); err != nil {
		return c, err
	}
	if c.Op != CellCreate {
		return c, ended(b)
	}
	c.Content = bytes.Clone(b)
	return c, nil
}

func ended(b []byte) error {
	if len(b) != 0 {
		return fmt.Errorf("nbd: %d bytes too many in an option", len(b))
	}
	return nil
}
