package cli

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
	"github.com/lockstep-vm/lockstep/spec"
	"github.com/lockstep-vm/lockstep/vm"
)

type snapshotCommand struct {
	Show snapshotShowCommand `cmd:"" help:"Say what a snapshot holds, and check it."`
}

type snapshotShowCommand struct {
	File string `arg:"" type:"path" help:"A snapshot that run --save wrote."`
	Spec string `type:"path" placeholder:"FILE" help:"Also load the State into the machine that this spec describes, and compare the digest. Takes the guest's memory."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// shown is a snapshot for people and, as JSON, for scripts.
type shown struct {
	VM            string      `json:"vm"`
	Run           string      `json:"run"`
	Taken         time.Time   `json:"taken"`
	Position      uint64      `json:"position"`
	LogEntry      uint64      `json:"log_entry"`
	Digest        string      `json:"digest"`
	Configuration string      `json:"configuration"`
	Memory        uint64      `json:"memory"`
	MMU           string      `json:"mmu"`
	Cmdline       string      `json:"cmdline"`
	Disks         []shownDisk `json:"disks"`
	NICs          []string    `json:"nics"`
	State         uint64      `json:"state_bytes"`
	File          int64       `json:"file_bytes"`
	Loaded        bool        `json:"loaded"` // into the machine of --spec
}

type shownDisk struct {
	Bytes    uint64 `json:"bytes"`
	ReadOnly bool   `json:"readonly"`
}

func (c *snapshotShowCommand) Run(env Env) error {
	s, err := c.read()
	if err != nil {
		return err
	}
	if c.Spec != "" {
		if err := c.load(); err != nil {
			return refused(err)
		}
		s.Loaded = true
	}
	if c.JSON {
		out := json.NewEncoder(env.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(s)
	}
	return s.print(env.Stdout)
}

// read reads the file to its end.
func (c *snapshotShowCommand) read() (shown, error) {
	file, err := os.Open(c.File)
	if err != nil {
		return shown{}, err
	}
	defer file.Close()
	f, err := snapshot.OpenFile(bufio.NewReaderSize(file, 1<<20))
	if err != nil {
		return shown{}, refused(err)
	}
	defer f.Close()
	if err := f.Verify(); err != nil {
		return shown{}, refused(err)
	}
	info, err := file.Stat()
	if err != nil {
		return shown{}, err
	}
	return show(f.Header(), info.Size()), nil
}

// load proves that the State is that of the header.
func (c *snapshotShowCommand) load() error {
	v, err := spec.Load(c.Spec)
	if err != nil {
		return err
	}
	mc, err := v.Config()
	if err != nil {
		return err
	}
	_, _, err = vm.LoadSnapshot(c.File, mc, newBoard)
	return err
}

func newBoard(mc *machine.Config, birth machine.Birth) (machine.Machine, error) {
	return board.New(mc, birth)
}

func show(h snapshot.FileHeader, size int64) shown {
	g := h.Machine
	s := shown{
		VM: h.VM, Run: ft.Run{Ordinal: h.RunOrdinal, ID: h.RunID}.String(), Taken: time.Unix(h.Taken, 0).UTC(),
		Position: uint64(h.Pos), LogEntry: h.LogSeq, Digest: h.Digest.String(), Configuration: hex.EncodeToString(g.Hash[:]),
		Memory: g.Memory, MMU: g.MMU.String(), Cmdline: g.Cmdline,
		Disks: []shownDisk{}, NICs: []string{}, State: h.Size, File: size,
	}
	for _, d := range g.Disks {
		s.Disks = append(s.Disks, shownDisk{Bytes: d.Sectors * 512, ReadOnly: d.ReadOnly})
	}
	for _, n := range g.NICs {
		s.NICs = append(s.NICs, net.HardwareAddr(n.MAC[:]).String())
	}
	return s
}

func (s *shown) print(w io.Writer) error {
	lines := bufio.NewWriter(w)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(lines, "%-14s "+format+"\n", append([]any{name}, args...)...)
	}
	row("VM", "%s", s.VM)
	row("run", "%s", s.Run)
	row("taken", "%s", s.Taken.Format(time.RFC3339))
	row("position", "%d, after log entry %d", s.Position, s.LogEntry)
	row("memory", "%d MB, %s", s.Memory>>20, s.MMU)
	for i, d := range s.Disks {
		mode := "writable: not in the snapshot, keep the image of that moment"
		if d.ReadOnly {
			mode = "read-only"
		}
		row(fmt.Sprintf("disk %d", i), "%d bytes, %s", d.Bytes, mode)
	}
	for i, n := range s.NICs {
		row(fmt.Sprintf("NIC %d", i), "%s", n)
	}
	row("command line", "%q", s.Cmdline)
	row("configuration", "%s", s.Configuration)
	row("digest", "%s", s.Digest)
	row("State", "%d bytes, %d in the file", s.State, s.File)
	if s.Loaded {
		row("checked", "every checksum; loaded, and the machine's digest is that of the snapshot")
	} else {
		row("checked", "every checksum")
	}
	return lines.Flush()
}
