package image

import (
	"fmt"
	"io"
	"regexp"
	"strings"
)

// A debPackage is what the index says of a package.
type debPackage struct {
	name, version, source, section string
	depends                        string // Pre-Depends and Depends
	filename                       string // below the mirror's base
	file                           fileSum
}

// A packageIndex is the archive's list of packages, the latest version of each.
type packageIndex struct {
	byName    map[string]*debPackage
	providers map[string][]string // names of packages that provide a virtual one
}

// readPackages reads a Packages file, whose own sum was checked.
func readPackages(r io.Reader) (*packageIndex, error) {
	index := &packageIndex{byName: map[string]*debPackage{}, providers: map[string][]string{}}
	err := readControl(r, func(f paragraph) error {
		name := f["package"]
		sum, err := newFileSum(f["size"], f["sha256"])
		if err != nil {
			return fmt.Errorf("package %q: %w", name, err)
		}
		if name == "" || f["version"] == "" || !safeFilename(f["filename"]) {
			return fmt.Errorf("package %q: name, version or file name is missing or bad", name)
		}
		p := &debPackage{
			name: name, version: f["version"], section: f["section"],
			depends:  joinDepends(f["pre-depends"], f["depends"]),
			filename: f["filename"], file: sum,
		}
		p.source, _ = cutSpace(f["source"])
		if p.source == "" {
			p.source = name
		}
		if old := index.byName[name]; old != nil && compareVersions(old.version, p.version) >= 0 {
			return nil
		}
		index.byName[name] = p
		for _, alternatives := range parseDepends(f["provides"]) {
			for _, d := range alternatives {
				index.providers[d.name] = append(index.providers[d.name], name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("package index: %w", err)
	}
	return index, nil
}

// safeFilename: a path below the mirror's base and nothing else.
func safeFilename(s string) bool {
	return s != "" && cleanName(s) == s && !strings.ContainsAny(s, "?#\n")
}

func joinDepends(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

// A dependency is a package and possibly a relation to a version.
type dependency struct{ name, relation, version string }

// parseDepends is the list of alternatives of a relationship field (Debian
// Policy 7.1). Restrictions to architectures do not occur in binary packages.
func parseDepends(field string) [][]dependency {
	var all [][]dependency
	for clause := range strings.SplitSeq(field, ",") {
		var alternatives []dependency
		for one := range strings.SplitSeq(clause, "|") {
			name, rest, _ := strings.Cut(strings.TrimSpace(one), "(")
			name, _, _ = strings.Cut(strings.TrimSpace(name), ":") // ":any"
			if name == "" {
				continue
			}
			d := dependency{name: name}
			d.relation, d.version = cutSpace(strings.TrimSuffix(strings.TrimSpace(rest), ")"))
			alternatives = append(alternatives, d)
		}
		if len(alternatives) > 0 {
			all = append(all, alternatives)
		}
	}
	return all
}

// meets says whether a version stands in the relation that d asks for.
func (d dependency) meets(version string) bool {
	c := compareVersions(version, d.version)
	switch d.relation {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	case ">>":
		return c > 0
	}
	return true
}

// choose picks the package for a list of alternatives: the first that is there
// in a version that fits, else the first provider; nil if there is none.
func (x *packageIndex) choose(alternatives []dependency) *debPackage {
	for _, d := range alternatives {
		if p := x.byName[d.name]; p != nil && d.meets(p.version) {
			return p
		}
	}
	for _, d := range alternatives {
		for _, name := range x.providers[d.name] {
			if p := x.byName[name]; p != nil {
				return p
			}
		}
	}
	return nil
}

// closure is p and everything it depends on, near ones first. What cannot be
// resolved is left out: only files that turn out to be missing count.
func (x *packageIndex) closure(p *debPackage) []*debPackage {
	all := []*debPackage{p}
	seen := map[string]bool{p.name: true}
	for i := 0; i < len(all); i++ {
		for _, alternatives := range parseDepends(all[i].depends) {
			if d := x.choose(alternatives); d != nil && !seen[d.name] {
				seen[d.name] = true
				all = append(all, d)
			}
		}
	}
	return all
}

// first is the first of the named packages that the archive has.
func (x *packageIndex) first(names ...string) (*debPackage, error) {
	for _, n := range names {
		if p := x.byName[n]; p != nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("image: the archive has no package %s", strings.Join(names, " or "))
}

// kernelName is a kernel of the stock stable series.
var kernelName = regexp.MustCompile(`^linux-image-6\.12\.[0-9]+\+deb13-riscv64$`)

// kernel is the kernel that the metapackage names, or else the latest.
func (x *packageIndex) kernel() (*debPackage, error) {
	if meta := x.byName["linux-image-riscv64"]; meta != nil {
		for _, alternatives := range parseDepends(meta.depends) {
			if p := x.choose(alternatives); p != nil && kernelName.MatchString(p.name) {
				return p, nil
			}
		}
	}
	var best *debPackage
	for name, p := range x.byName {
		if !kernelName.MatchString(name) {
			continue
		}
		c := 0
		if best != nil {
			if c = compareVersions(p.version, best.version); c == 0 {
				c = compareVersions(p.name, best.name)
			}
		}
		if best == nil || c > 0 {
			best = p
		}
	}
	if best == nil {
		return nil, fmt.Errorf("image: the archive has no kernel package linux-image-6.12.*+deb13-riscv64")
	}
	return best, nil
}
