package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Build fetches and builds an image, replacing one of the same name. Only one
// build at a time works in a cache directory; another waits for it.
func Build(ctx context.Context, o Options) (*Image, error) { return build(ctx, o, false) }

// build is Build, or with reuse only if the image is still not there when the
// cache directory is ours.
func build(ctx context.Context, o Options, reuse bool) (*Image, error) {
	b, err := newBuilder(o)
	if err != nil {
		return nil, err
	}
	dir, err := imageDir(b.options.CacheDir, b.options.Name)
	if err != nil {
		return nil, err
	}
	if b.options.Name != Demo {
		return nil, fmt.Errorf("image: no recipe for %q; %q is the only one", b.options.Name, Demo)
	}
	for _, d := range []string{filepath.Dir(dir), b.debs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("image: %w; choose another cache directory (XDG_CACHE_HOME)", err)
		}
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if reuse {
		if img, err := Load(b.options.CacheDir, b.options.Name); !errors.Is(err, ErrNotBuilt) {
			return img, err
		}
	}
	if err := b.run(ctx, dir); err != nil {
		return nil, b.explain(err)
	}
	// What was fetched has served its purpose; an image needs no network.
	if err := os.RemoveAll(b.debs); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	b.report(StageDone, b.options.Name, 1, 1)
	return Load(b.options.CacheDir, b.options.Name)
}

// A builder is one build at work.
type builder struct {
	options Options
	debs    string // directory of packages while the build needs them
	fetch   *fetcher

	downloaded, toDownload int64 // bytes of packages
}

func newBuilder(o Options) (*builder, error) {
	o.Name = cmp.Or(o.Name, Demo)
	o.AptDir = cmp.Or(o.AptDir, "/etc/apt")
	o.IndexSHA256 = cmp.Or(o.IndexSHA256, os.Getenv(IndexVariable), knownIndex)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CacheDir == "" {
		dir, err := DefaultCacheDir()
		if err != nil {
			return nil, err
		}
		o.CacheDir = dir
	}
	if o.Client == nil {
		o.Client = newClient(readAptConfig(o.AptDir))
	}
	return &builder{
		options: o,
		debs:    filepath.Join(o.CacheDir, "debs"),
		fetch:   &fetcher{client: o.Client, pause: cmp.Or(o.RetryPause, 500*time.Millisecond)},
	}, nil
}

func (b *builder) report(s Stage, note string, done, total int64) {
	if b.options.Progress != nil {
		b.options.Progress(Event{Stage: s, Note: note, Done: done, Total: total})
	}
}

// lock waits until no other build works in the cache directory.
func (b *builder) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(b.options.CacheDir, "build.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	for {
		ours, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("image: lock %s: %w", f.Name(), err)
		}
		if ours {
			return func() { f.Close() }, nil
		}
		b.report(StageMirror, "another process is building an image", 0, 0)
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// run makes the demo guest.
func (b *builder) run(ctx context.Context, dir string) error {
	a, err := b.findArchive(ctx)
	if err != nil {
		return err
	}
	kernelPackage, err := a.index.kernel()
	if err != nil {
		return err
	}
	busyboxPackage, err := a.index.first("busybox-static")
	if err != nil {
		return err
	}
	serverPackage, err := a.index.first(servers...)
	if err != nil {
		return err
	}
	b.toDownload = kernelPackage.file.size + busyboxPackage.file.size + serverPackage.file.size

	// The kernel, by far the largest, comes last: until then the libraries
	// that the server needs become known, and with them the sum.
	s := &supply{b: b, archive: a, tree: mergedTree()}
	g := &guest{}
	if err := s.unpack(ctx, busyboxPackage); err != nil {
		return err
	}
	_, busybox := s.tree.resolve("usr/bin/busybox")
	if busybox == nil {
		return errors.New("image: package busybox-static has no /usr/bin/busybox")
	}
	if err := g.addBase(busybox.data); err != nil {
		return err
	}
	server := "usr/bin/" + serverPackage.name
	s.from(serverPackage)
	if err := g.addProgram(server, s.finder(ctx)); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	g.link("usr/bin/server", path.Base(server))

	file, err := b.download(ctx, a, kernelPackage)
	if err != nil {
		return err
	}
	s.used = append(s.used, kernelPackage)
	k, err := readKernel(file, func(done int64) {
		b.report(StageUnpack, kernelPackage.name, done, kernelPackage.file.size)
	})
	if err != nil {
		return fmt.Errorf("image: package %s: %w", kernelPackage.name, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	g.addModules(k.version, k.modules, k.builtin)
	b.report(StageAssemble, b.options.Name, 0, 1)
	var initrd bytes.Buffer
	if err := writeCPIO(&initrd, g.entries); err != nil {
		return err
	}
	m := &manifest{
		Name: b.options.Name, Release: a.release.version, KernelVersion: k.version,
		Cmdline: cmdline, Packages: s.packages(), IndexSHA256: a.pinned,
	}
	if a.pinned != "" {
		m.Release = "" // the release that is signed is another
	}
	if err := store(dir, m, k.image, initrd.Bytes()); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	b.report(StageAssemble, b.options.Name, 1, 1)
	return nil
}

// explain adds what to do to errors of the machine's.
func (b *builder) explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w; a build needs about 300 MB below %s, an image about 60 MB: make room or set XDG_CACHE_HOME", err, b.options.CacheDir)
	}
	return err
}

// A supply unpacks packages as their files turn out to be needed.
type supply struct {
	b       *builder
	archive *archive
	tree    *tree
	next    []*debPackage // not unpacked yet, likely ones first
	used    []*debPackage
}

// from lets files be looked for in p and what it depends on.
func (s *supply) from(p *debPackage) {
	s.next = s.archive.index.closure(p)
	rank := func(o *debPackage) int {
		switch {
		case o == p:
			return 0
		case o.source == p.source:
			return 1
		case o.section == "libs":
			return 2
		}
		return 3
	}
	slices.SortStableFunc(s.next, func(x, y *debPackage) int { return rank(x) - rank(y) })
}

// unpack fetches and unpacks one package, except for its documentation.
func (s *supply) unpack(ctx context.Context, p *debPackage) error {
	file, err := s.b.download(ctx, s.archive, p)
	if err != nil {
		return err
	}
	s.used = append(s.used, p)
	err = unpackDeb(file, s.tree, func(int64) {}, func(name string) bool {
		return !strings.HasPrefix(name, "usr/share/")
	})
	if err != nil {
		return fmt.Errorf("image: package %s: %w", p.name, err)
	}
	return nil
}

// finder looks for the first file that is there under one of several names,
// and unpacks one package after the other while none is.
func (s *supply) finder(ctx context.Context) func(names ...string) (found, error) {
	return func(names ...string) (found, error) {
		for {
			for _, name := range names {
				if real, n := s.tree.resolve(name); n != nil && n.kind() == modeFile && !n.left {
					dir, _ := s.tree.resolve(path.Dir(name))
					return found{path.Join(dir, path.Base(name)), real, n.data}, nil
				}
			}
			if len(s.next) == 0 {
				return found{}, fmt.Errorf("no package that the server depends on has /%s", names[0])
			}
			i := s.likely(path.Base(names[0]))
			p := s.next[i]
			s.next = slices.Delete(s.next, i, i+1)
			if err := s.unpack(ctx, p); err != nil {
				return found{}, err
			}
		}
	}
}

// likely is the index of the package that is named after a library, or 0.
func (s *supply) likely(file string) int {
	stem, _, isLibrary := strings.Cut(strings.ReplaceAll(file, "_", "-"), ".so")
	if !isLibrary {
		return 0
	}
	if i := slices.IndexFunc(s.next, func(p *debPackage) bool { return strings.HasPrefix(p.name, stem) }); i >= 0 {
		return i
	}
	return 0
}

// packages lists what was unpacked, by name.
func (s *supply) packages() []Package {
	var all []Package
	for _, p := range s.used {
		all = append(all, Package{Name: p.name, Version: p.version, SHA256: p.file.sha256})
	}
	slices.SortFunc(all, func(x, y Package) int { return cmp.Compare(x.Name, y.Name) })
	return all
}
