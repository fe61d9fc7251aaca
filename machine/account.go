package machine

// Account is what a Digest is taken over, part by part, so that two replicas
// whose digests differ can tell where. Machines with equal digests at one
// position and different ones at the next differ in a register, in a device, or
// in a page that one of the two has changed in between.
type Account struct {
	Pos    Icount
	Digest Digest
	// Registers are the hart's, by the names of the specification, in a fixed order.
	Registers []Register
	// Devices are hashes over the State of each device, in a fixed order.
	Devices []PartSum
	// Pages are the hashes of the pages of RAM whose content is not what it was
	// at the Account before, at Load or at power-on. Ascending.
	Pages []PageSum
	// Base is the address of page 0.
	Base GPA
}

// Register is a register of the hart by name.
type Register struct {
	Name  string
	Value uint64
}

// PartSum is the hash of a named part of State.
type PartSum struct {
	Name string
	Sum  [16]byte
}

// HartPart is the name of the part that covers what Registers covers, so that
// a part of a hart's State which is no register is covered too.
const HartPart = "hart"

// PageSize is that of the pages of an Account, in bytes.
const PageSize = 4096

// PageSum is the hash of a page of RAM, counted from the start of RAM.
type PageSum struct {
	Page uint32
	Sum  [16]byte
}

// Inspector is what a machine may offer beyond Machine to whoever looks for the
// cause of a difference. It changes nothing that the guest can see.
type Inspector interface {
	// Instruction is the address of the next attempt and the encoding there,
	// of 16 bits if its lowest two are not both set; false if it cannot be fetched.
	Instruction() (pc GVA, encoding uint32, ok bool)
	// Page is a copy of a page of RAM, counted from the start of RAM, and its
	// address; nil if there is none.
	Page(page uint32) (GPA, []byte)
}
