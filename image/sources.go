package image

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A candidate is a mirror that may serve, and where it is named.
type candidate struct {
	base string // URI without a trailing slash
	from string // file, option or variable that names it
	skip string // why it is not tried, if it is not
}

// aptCandidates are the archives in apt's configuration (sources.list(5)), in
// its order, each once. A file that cannot be read or understood becomes a
// candidate with a reason.
func aptCandidates(aptDir string) []candidate {
	var all []candidate
	files := []string{filepath.Join(aptDir, "sources.list")}
	// apt reads the directory in the order of the names.
	parts, _ := os.ReadDir(filepath.Join(aptDir, "sources.list.d"))
	for _, p := range parts {
		files = append(files, filepath.Join(aptDir, "sources.list.d", p.Name()))
	}
	for _, file := range files {
		parse := parseOneLine
		switch filepath.Ext(file) {
		case ".list":
		case ".sources":
			parse = parseDeb822
		default:
			continue
		}
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue
		}
		var uris []string
		if err == nil {
			uris, err = parse(string(text))
		}
		for _, u := range uris {
			all = append(all, newCandidate(u, file))
		}
		if err != nil {
			all = append(all, candidate{base: file, from: file, skip: fmt.Sprintf("could not be read: %v", err)})
		}
	}
	var once []candidate
	for _, c := range all {
		if !slices.ContainsFunc(once, func(o candidate) bool { return o.base == c.base }) {
			once = append(once, c)
		}
	}
	return once
}

// newCandidate checks the scheme: apt knows methods that are no plain transfer.
func newCandidate(uri, from string) candidate {
	c := candidate{base: strings.TrimRight(uri, "/"), from: from}
	scheme, _, ok := strings.Cut(uri, ":")
	switch {
	case !ok:
		c.skip = "is no URI"
	case scheme != "http" && scheme != "https":
		c.skip = fmt.Sprintf("skipped: %q is not among the schemes that work here, http and https", scheme)
	}
	return c
}

// parseOneLine reads "deb [options] URI suite components" lines.
func parseOneLine(text string) ([]string, error) {
	var uris []string
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		kind, rest := cutSpace(line)
		if kind != "deb" {
			continue
		}
		if strings.HasPrefix(rest, "[") {
			_, after, closed := strings.Cut(rest, "]")
			if !closed {
				continue // apt refuses the whole file; the other lines still name mirrors
			}
			rest = strings.TrimSpace(after)
		}
		uri, suites := cutSpace(rest)
		if suite, _ := cutSpace(suites); uri != "" && suite != "" && !strings.HasSuffix(suite, "/") {
			uris = append(uris, uri)
		}
	}
	return uris, lines.Err()
}

// parseDeb822 reads stanzas with Types, URIs and Suites.
func parseDeb822(text string) ([]string, error) {
	var uris []string
	err := readControl(strings.NewReader(text), func(p paragraph) error {
		switch strings.ToLower(p["enabled"]) {
		case "no", "false", "without", "off", "disable", "0":
			return nil
		}
		if !slices.Contains(strings.Fields(p["types"]), "deb") {
			return nil
		}
		// A suite that ends in a slash is a flat archive: it has no dists.
		if suites := strings.Fields(p["suites"]); len(suites) == 0 || strings.HasSuffix(suites[0], "/") {
			return nil
		}
		uris = append(uris, strings.Fields(p["uris"])...)
		return nil
	})
	return uris, err
}

// cutSpace splits at the first run of blanks.
func cutSpace(s string) (word, rest string) {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], strings.TrimSpace(s[i:])
	}
	return s, ""
}
