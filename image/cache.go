package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// Names in an image's directory.
const (
	kernelFile = "Image"
	initrdFile = "initrd.cpio"
	aboutFile  = "image.json"
)

// manifestFormat is the version of image.json.
const manifestFormat = 1

// A manifest is the content of image.json.
type manifest struct {
	Format  int    `json:"format"`
	Name    string `json:"name"`
	Release string `json:"release,omitempty"` // of Debian
	// IndexSHA256 is there if the package index was not the signed one.
	IndexSHA256   string    `json:"index_sha256,omitempty"`
	KernelVersion string    `json:"kernel_version"`
	Cmdline       string    `json:"cmdline"`
	SHA256        string    `json:"sha256"`
	Kernel        fileEntry `json:"kernel"`
	Initrd        fileEntry `json:"initrd"`
	Packages      []Package `json:"packages"`
}

type fileEntry struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// sum identifies what the guest boots from.
func (m *manifest) sum() string {
	h := sha256.Sum256(fmt.Appendf(nil, "lockstep image %d\n%s\n%s\n%s\n", m.Format, m.Kernel.SHA256, m.Initrd.SHA256, m.Cmdline))
	return hex.EncodeToString(h[:])
}

// imageName is what an image may be called: it is a directory.
var imageName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// DefaultCacheDir is the directory "lockstep" in the user's cache directory.
func DefaultCacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("image: no cache directory: %w; set XDG_CACHE_HOME or HOME", err)
	}
	return filepath.Join(dir, "lockstep"), nil
}

// imageDir is where an image of the given name lives.
func imageDir(cacheDir, name string) (string, error) {
	if !imageName.MatchString(name) {
		return "", fmt.Errorf("image: %q is no name of an image: it has lower-case letters, digits, dots and dashes", name)
	}
	if cacheDir == "" {
		var err error
		if cacheDir, err = DefaultCacheDir(); err != nil {
			return "", err
		}
	}
	return filepath.Join(cacheDir, "images", name), nil
}

// Load finds a built image in the cache (DefaultCacheDir() if cacheDir is
// empty) and checks that its files are whole. The error wraps ErrNotBuilt if
// there is none or it is damaged.
func Load(cacheDir, name string) (*Image, error) {
	dir, err := imageDir(cacheDir, name)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, aboutFile))
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("image: %q in %s: %w", name, filepath.Dir(dir), ErrNotBuilt)
	}
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	var m manifest
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&m); err != nil || m.Format != manifestFormat || m.SHA256 != m.sum() {
		return nil, fmt.Errorf("image: %q: %s is damaged or of another version: %w", name, filepath.Join(dir, aboutFile), ErrNotBuilt)
	}
	for file, want := range map[string]fileEntry{kernelFile: m.Kernel, initrdFile: m.Initrd} {
		path := filepath.Join(dir, file)
		if !haveFile(path, fileSum{want.Size, want.SHA256}) {
			return nil, fmt.Errorf("image: %q: %s is missing or damaged: %w", name, path, ErrNotBuilt)
		}
	}
	return &Image{
		Name: name, Dir: dir,
		Kernel: filepath.Join(dir, kernelFile), Initrd: filepath.Join(dir, initrdFile),
		Cmdline: m.Cmdline, KernelVersion: m.KernelVersion, SHA256: m.SHA256, Packages: m.Packages,
		IndexSHA256: m.IndexSHA256,
	}, nil
}

// store writes an image beside its place and then moves it there. The caller
// holds the lock.
func store(dir string, m *manifest, kernelImage, initrd []byte) error {
	entry := func(b []byte) fileEntry {
		sum := sha256.Sum256(b)
		return fileEntry{int64(len(b)), hex.EncodeToString(sum[:])}
	}
	m.Format, m.Kernel, m.Initrd = manifestFormat, entry(kernelImage), entry(initrd)
	m.SHA256 = m.sum()
	about, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	fresh := newDirName(dir, "new")
	old := newDirName(dir, "old")
	// Left by a build that was killed.
	for _, d := range []string{fresh, old} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	for name, data := range map[string][]byte{kernelFile: kernelImage, initrdFile: initrd, aboutFile: append(about, '\n')} {
		if err := writeSynced(filepath.Join(fresh, name), data); err != nil {
			return err
		}
	}
	if err := os.Rename(dir, old); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// newDirName is a sibling of dir that no image is called.
func newDirName(dir, suffix string) string {
	return filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+"."+suffix)
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// haveFile: the file is there, of that size and sum.
func haveFile(path string, want fileSum) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Mode().Type()&fs.ModeType != 0 || info.Size() != want.size {
		return false
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return false
	}
	return hex.EncodeToString(sum.Sum(nil)) == want.sha256
}
