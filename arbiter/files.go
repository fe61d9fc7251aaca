package arbiter

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// files is what the arbiter asks of a file system. The tests have one that
// forgets what was not synced.
type files interface {
	MkdirAll(path string) error
	// WriteSynced makes a new file and fsyncs it.
	WriteSynced(path string, content []byte) error
	// Link gives a file a second name; fs.ErrExist if the name is taken.
	Link(from, to string) error
	LinkCount(path string) (uint64, error)
	SyncDir(path string) error
	ReadFile(path string) ([]byte, error)
	Remove(path string) error
	List(dir string) ([]string, error)
}

type osFiles struct{}

func (osFiles) MkdirAll(path string) error           { return os.MkdirAll(path, 0o755) }
func (osFiles) Link(from, to string) error           { return os.Link(from, to) }
func (osFiles) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }
func (osFiles) Remove(path string) error             { return os.Remove(path) }

func (osFiles) WriteSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (osFiles) LinkCount(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return uint64(st.Nlink), nil
}

func (osFiles) SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (osFiles) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// durable says whether the file system at path outlives its host's crash.
func durable(path string) (bool, string) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, "its file system cannot be asked: " + err.Error()
	}
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		return false, "it lies on tmpfs: a claim is forgotten when this host restarts"
	}
	return true, ""
}

// outside says whether the file system at path is one that another host serves,
// as far as its type tells.
func outside(path string) (bool, string) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, "its file system cannot be asked: " + err.Error()
	}
	if shared[uint32(st.Type)] {
		return true, ""
	}
	return false, "it lies on this host's own file system: it is lost with this host"
}

// shared are the magic numbers of file systems that several hosts use at once.
var shared = map[uint32]bool{
	unix.NFS_SUPER_MAGIC:   true,
	unix.SMB2_SUPER_MAGIC:  true,
	unix.SMB_SUPER_MAGIC:   true,
	unix.CIFS_SUPER_MAGIC:  true,
	unix.CEPH_SUPER_MAGIC:  true,
	unix.AFS_SUPER_MAGIC:   true,
	unix.V9FS_MAGIC:        true, // of a machine around this one
	unix.FUSE_SUPER_MAGIC:  true, // GlusterFS, SSHFS, virtiofs; its type tells no more
	unix.OCFS2_SUPER_MAGIC: true, // on a shared block device, as GFS2
	0x01161970:             true, // GFS2
	0x0BD00BD0:             true, // Lustre
}
