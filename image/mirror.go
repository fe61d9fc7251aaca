package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ulikunitz/xz"
)

// Variables that stand in for options.
const (
	MirrorVariable = "LOCKSTEP_MIRROR"
	IndexVariable  = "LOCKSTEP_INDEX_SHA256"
)

const (
	indexName     = "main/binary-" + architecture + "/Packages.xz"
	maxIndex      = 64 << 20
	maxIndexPlain = 512 << 20 // unpacked
)

// An archive is a mirror whose release was verified, and its package index.
type archive struct {
	base    string
	release *release
	index   *packageIndex
	pinned  string // sum of the index if it is not the signed one
}

// candidates are the mirrors to try: the one that is named, or those of apt.
func candidates(o *Options) []candidate {
	if o.Mirror != "" {
		return []candidate{newCandidate(o.Mirror, "--mirror")}
	}
	if m := os.Getenv(MirrorVariable); m != "" {
		return []candidate{newCandidate(m, MirrorVariable)}
	}
	return aptCandidates(o.AptDir)
}

// findArchive takes the first candidate that serves the release and the index.
func (b *builder) findArchive(ctx context.Context) (*archive, error) {
	keys, err := archiveKeys(b.options.KeyRing)
	if err != nil {
		return nil, err
	}
	list := candidates(&b.options)
	var tried strings.Builder
	for _, c := range list {
		reason := c.skip
		if reason == "" {
			b.report(StageMirror, c.base, 0, 0)
			a, err := b.openArchive(ctx, c.base, keys)
			if err == nil {
				return a, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			reason = err.Error()
		}
		fmt.Fprintf(&tried, "\n  %s (from %s): %s", c.base, c.from, reason)
	}
	if len(list) == 0 {
		fmt.Fprintf(&tried, "\n  nothing: apt's configuration in %s names no archive", b.options.AptDir)
	}
	return nil, fmt.Errorf("image: no Debian mirror serves %s for %s. Tried:%s\n"+
		"Name a mirror with --mirror URI or in %s: the URI that the deb lines of a Debian machine carry, "+
		"without dists/. Behind a proxy, set http_proxy and https_proxy.",
		codename, architecture, tried.String(), MirrorVariable)
}

// openArchive fetches and verifies the release and the package index.
func (b *builder) openArchive(ctx context.Context, base string, keys openpgp.KeyRing) (*archive, error) {
	// A mirror that does not answer is one of several: it gets less time than
	// the files of a mirror that serves.
	probe, cancel := context.WithTimeout(ctx, 2*stallTimeout)
	defer cancel()
	dists := base + "/dists/" + codename + "/"
	inRelease, err := b.fetch.small(probe, dists+"InRelease", maxInRelease)
	if err != nil {
		return nil, fmt.Errorf("InRelease: %w", err)
	}
	rel, err := parseRelease(inRelease, keys, b.options.Now())
	if err != nil {
		return nil, err
	}
	want, ok := rel.files[indexName]
	if !ok {
		return nil, fmt.Errorf("its release has no packages for %s", architecture)
	}
	a := &archive{base: base, release: rel}
	packed, err := b.fetchIndex(ctx, dists, rel, want)
	if err != nil && ctx.Err() == nil {
		known := strings.ToLower(b.options.IndexSHA256)
		if other, why := b.fetchPinned(ctx, dists, known); why == nil {
			packed, a.pinned, err = other, known, nil
		} else {
			err = fmt.Errorf("%w; and what it serves in its stead is %w", err, why)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("package index: %w", err)
	}
	r, err := xz.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("package index: %w", err)
	}
	a.index, err = readPackages(io.LimitReader(r, maxIndexPlain))
	return a, err
}

// fetchIndex gets the signed package index by its sum if the archive has such
// names: an index that is replaced meanwhile then stays reachable.
func (b *builder) fetchIndex(ctx context.Context, dists string, rel *release, want fileSum) ([]byte, error) {
	if want.size > maxIndex {
		return nil, fmt.Errorf("%d bytes are too many", want.size)
	}
	names := []string{indexName}
	if rel.byHash {
		names = []string{path.Dir(indexName) + "/by-hash/SHA256/" + want.sha256, indexName}
	}
	file := filepath.Join(b.debs, want.sha256+".index")
	for i := 0; !haveFile(file, want); i++ {
		err := b.fetch.file(ctx, dists+names[i], file, want, func(done int64) {
			b.report(StageIndex, indexName, done, want.size)
		})
		if err != nil && (i == len(names)-1 || ctx.Err() != nil) {
			return nil, err
		}
	}
	return os.ReadFile(file)
}

// fetchPinned gets the package index that an option names.
func (b *builder) fetchPinned(ctx context.Context, dists, want string) ([]byte, error) {
	b.report(StageIndex, indexName+" of before the mirror's update, known by its sum: no signature covers it", 0, 0)
	packed, err := b.fetch.small(ctx, dists+indexName, maxIndex)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(packed); hex.EncodeToString(sum[:]) != want {
		return nil, fmt.Errorf("%w: its SHA-256 is %x, neither that of the signed release nor one that is known", errCorrupt, sum)
	}
	return packed, nil
}

// download fetches the package into the cache, if it is not there, and is its path.
func (b *builder) download(ctx context.Context, a *archive, p *debPackage) (string, error) {
	if p.file.size > maxPackageFile {
		return "", fmt.Errorf("image: package %s: %d bytes are too many", p.name, p.file.size)
	}
	file := filepath.Join(b.debs, p.file.sha256+".deb")
	before := b.downloaded
	if !haveFile(file, p.file) {
		err := b.fetch.file(ctx, a.base+"/"+p.filename, file, p.file, func(done int64) {
			b.report(StageDownload, p.name, before+done, max(b.toDownload, before+p.file.size))
		})
		if err != nil {
			return "", fmt.Errorf("image: package %s from %s: %w", p.name, a.base+"/"+p.filename, err)
		}
	}
	b.downloaded = before + p.file.size
	b.report(StageDownload, p.name, b.downloaded, max(b.toDownload, b.downloaded))
	return file, nil
}
