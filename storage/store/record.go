package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
	"github.com/lockstep-vm/lockstep/ft"
)

// record is who may write an export: what is kept, durably, beside its file.
//
//	lockstep fence 1
//	vm NAME
//	number RUN.NUMBER
//	process HEX
//	state claimed | released
//	crc HEX             of the lines before, CRC-32C
type record struct {
	VM       string
	Number   ft.Fence
	Process  ft.ProcessID
	Released bool // by a person: only this process stays refused
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r record) encode() []byte {
	state := "claimed"
	if r.Released {
		state = "released"
	}
	b := fmt.Appendf(nil, "lockstep fence 1\nvm %s\nnumber %d.%d\nprocess %x\nstate %s\n", r.VM, r.Number.Run, r.Number.Number, r.Process[:], state)
	return fmt.Appendf(b, "crc %08x\n", crc32.Checksum(b, castagnoli))
}

func decodeRecord(b []byte) (r record, err error) {
	damaged := func(why string) (record, error) {
		return record{}, fmt.Errorf("it is damaged (%s); whoever was live last is not known any more: find out, and only then remove it", why)
	}
	lines := strings.Split(string(b), "\n")
	if lines[0] != "lockstep fence 1" {
		if strings.HasPrefix(lines[0], "lockstep fence ") {
			return record{}, errors.New("it was written by a later version of lockstep; use that one")
		}
		return damaged(fmt.Sprintf("it starts with %.40q", lines[0]))
	}
	if len(lines) != 7 || lines[6] != "" {
		return damaged("it has not six lines")
	}
	names := [5]string{"vm", "number", "process", "state", "crc"}
	var values [5]string
	for i, name := range names {
		have, value, ok := strings.Cut(lines[i+1], " ")
		if !ok || have != name {
			return damaged("line " + strconv.Itoa(i+2) + " is not " + name)
		}
		values[i] = value
	}
	sum := crc32.Checksum(b[:len(b)-len(lines[5])-1], castagnoli)
	if values[4] != fmt.Sprintf("%08x", sum) {
		return damaged("its checksum is wrong")
	}
	r.VM = values[0]
	if err := cells.CheckVM(r.VM); err != nil {
		return damaged(err.Error())
	}
	run, number, _ := strings.Cut(values[1], ".")
	if r.Number.Run, err = strconv.ParseUint(run, 10, 64); err == nil {
		r.Number.Number, err = strconv.ParseUint(number, 10, 64)
	}
	if err != nil {
		return damaged("its number is none")
	}
	process, err := hex.DecodeString(values[2])
	if err != nil || len(process) != len(r.Process) {
		return damaged("its process is none")
	}
	copy(r.Process[:], process)
	switch values[3] {
	case "claimed":
	case "released":
		r.Released = true
	default:
		return damaged("its state is none")
	}
	return r, nil
}

// records keeps the record of an export; the tests have one that crashes.
type records interface {
	// load returns the record, or false if there is none.
	load() (record, bool, error)
	// save makes r the record; it is durable when save returns.
	save(r record) error
}

// recordFile is the record as a file.
type recordFile struct{ path string }

func (f recordFile) load() (record, bool, error) {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err == nil && len(b) > 4096 {
		err = errors.New("it is too long to be one")
	}
	if err != nil {
		return record{}, false, fmt.Errorf("fence record %s: %w", f.path, err)
	}
	r, err := decodeRecord(b)
	if err != nil {
		return record{}, false, fmt.Errorf("fence record %s: %w", f.path, err)
	}
	return r, true, nil
}

func (f recordFile) save(r record) error {
	// Only the server that holds the export's lock gets here, so one name does.
	temp := f.path + ".new"
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(r.encode())
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, f.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// forgets says why what is kept in the directory does not survive a restart of
// this host; empty if it does.
func forgets(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "its file system cannot be asked: " + err.Error()
	}
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		return "it lies on tmpfs, which is forgotten when this host restarts"
	}
	return ""
}
