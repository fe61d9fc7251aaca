package image

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/blakesmith/ar"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Limits of what one package may unpack to.
const (
	maxUnpacked = 2 << 30
	maxEntries  = 200_000
	maxOneFile  = 512 << 20
)

// unpackDeb adds the files of a package (deb(5)) to the tree; of those that
// keep refuses only the name is known afterwards. Nothing touches the host's
// file system, so a hostile name cannot reach it; it is refused all the same.
func unpackDeb(file string, t *tree, progress func(done int64), keep func(name string) bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	members := ar.NewReader(&counter{r: f, told: progress})
	head, err := members.Next()
	if err != nil || strings.TrimRight(head.Name, "/") != "debian-binary" {
		return errors.New("no Debian package: it does not begin with debian-binary")
	}
	version, err := io.ReadAll(io.LimitReader(members, 16))
	if err != nil || !strings.HasPrefix(string(version), "2.") {
		return fmt.Errorf("package format %.16q is not 2.x", version)
	}
	for {
		head, err := members.Next()
		if err == io.EOF {
			return errors.New("no data.tar in the package")
		}
		if err != nil {
			return err
		}
		if head.Size < 0 {
			return errors.New("a member of the package has a negative size")
		}
		name := strings.TrimRight(head.Name, "/")
		if !strings.HasPrefix(name, "data.tar") {
			continue
		}
		member := &counter{r: members, told: func(int64) {}}
		r, err := decompress(bufio.NewReaderSize(member, 256<<10), path.Ext(name))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := unpackTar(r, t, keep); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := io.Copy(io.Discard, member); err != nil || member.n != head.Size {
			return fmt.Errorf("%s: it ends after %d of %d bytes", name, member.n, head.Size)
		}
		return nil
	}
}

// A counter tells how many bytes were read.
type counter struct {
	r    io.Reader
	n    int64
	told func(n int64)
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	c.told(c.n)
	return n, err
}

// decompress reads a file with the given extension; ".tar" and "" are plain.
func decompress(r io.Reader, ext string) (io.Reader, error) {
	switch ext {
	case ".xz":
		return xz.NewReader(r)
	case ".gz":
		return gzip.NewReader(r)
	case ".zst":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxOneFile))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case ".tar", "", ".ko":
		return r, nil
	}
	return nil, fmt.Errorf("compression %q is not known", ext)
}

func unpackTar(r io.Reader, t *tree, keep func(name string) bool) error {
	r = io.LimitReader(r, maxUnpacked)
	files := tar.NewReader(r)
	for range maxEntries {
		head, err := files.Next()
		if err == io.EOF {
			// To the end, where the compression has its sums.
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		name := cleanName(strings.TrimSuffix(head.Name, "/"))
		if name == "." {
			continue
		}
		if name == "" {
			return fmt.Errorf("hostile name %q", head.Name)
		}
		n := &node{mode: uint32(head.Mode) & 0o755}
		switch head.Typeflag {
		case tar.TypeDir:
			n.mode |= modeDir
		case tar.TypeReg:
			n.mode |= modeFile
			if head.Size > maxOneFile {
				return fmt.Errorf("%s: %d bytes are too many", name, head.Size)
			}
			if keep(name) {
				if n.data, err = io.ReadAll(files); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			} else {
				n.left = true
			}
		case tar.TypeSymlink:
			n.mode = modeLink | 0o777
			n.data = []byte(head.Linkname)
		case tar.TypeLink:
			old := t.files[cleanName(head.Linkname)]
			if old == nil || old.kind() != modeFile {
				return fmt.Errorf("%s is a hard link to %q, which is no file of the package", name, head.Linkname)
			}
			n = old
		default:
			return fmt.Errorf("%s is of kind %q, which no package of the guest needs", name, head.Typeflag)
		}
		if err := t.add(name, n); err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d files", maxEntries)
}

// cleanName is a name of an archive without its leading "./"; empty if it is
// absolute, leaves the archive or holds what no name should.
func cleanName(name string) string {
	if name == "" || name[0] == '/' || strings.ContainsAny(name, "\x00\\\n") {
		return ""
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return ""
		}
	}
	return path.Clean(name)
}
