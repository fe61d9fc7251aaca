package image

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// aptConfig is apt's configuration (apt.conf(5)): values by name, "::" between
// the parts, in lower case.
type aptConfig map[string]string

// readAptConfig reads apt.conf.d and apt.conf. What cannot be read is left out:
// apt's own complaints belong to apt.
func readAptConfig(aptDir string) aptConfig {
	conf := aptConfig{}
	dir := filepath.Join(aptDir, "apt.conf.d")
	parts, _ := os.ReadDir(dir)
	files := []string{}
	for _, p := range parts {
		if ext := filepath.Ext(p.Name()); ext == "" || ext == ".conf" {
			files = append(files, filepath.Join(dir, p.Name()))
		}
	}
	for _, file := range append(files, filepath.Join(aptDir, "apt.conf")) {
		if text, err := os.ReadFile(file); err == nil {
			conf.parse(string(text))
		}
	}
	return conf
}

// parse adds the settings of one file. Statements end with ";", braces nest,
// "//", "#" and "/* */" begin comments.
func (c aptConfig) parse(text string) {
	var scope, statement []string
	for text != "" {
		var token string
		token, text = aptToken(text)
		switch token {
		case "":
		case "{":
			scope = append(scope, strings.ToLower(strings.Join(statement, "")))
			statement = nil
		case "}":
			if len(scope) > 0 {
				scope = scope[:len(scope)-1]
			}
			statement = nil
		case ";":
			if len(statement) >= 2 {
				name := append(append([]string{}, scope...), strings.ToLower(statement[0]))
				c[strings.Join(name, "::")] = strings.Trim(statement[1], `"`)
			}
			statement = nil
		default:
			statement = append(statement, token)
		}
	}
}

// aptToken cuts the first token; it is empty for blanks and comments.
func aptToken(s string) (token, rest string) {
	until := func(end string, from int) int {
		if i := strings.Index(s[from:], end); i >= 0 {
			return from + i + len(end)
		}
		return len(s)
	}
	switch {
	case strings.ContainsRune(" \t\r\n", rune(s[0])):
		return "", s[1:]
	case strings.HasPrefix(s, "//"), s[0] == '#':
		return "", s[until("\n", 1):]
	case strings.HasPrefix(s, "/*"):
		return "", s[until("*/", 2):]
	case s[0] == '"':
		i := until(`"`, 1)
		return s[:i], s[i:]
	case strings.IndexByte("{};", s[0]) >= 0:
		return s[:1], s[1:]
	}
	i := strings.IndexAny(s, " \t\r\n{};\"")
	if i < 0 {
		i = len(s)
	}
	return s[:i], s[i:]
}

// proxy is the proxy for a request as apt would choose it: its own setting for
// the host, its general one, then the environment.
func (c aptConfig) proxy(r *http.Request) (*url.URL, error) {
	schemes := []string{r.URL.Scheme}
	if r.URL.Scheme == "https" {
		schemes = append(schemes, "http") // apt's https settings default to those of http
	}
	for _, s := range schemes {
		for _, name := range []string{"::proxy::" + strings.ToLower(r.URL.Hostname()), "::proxy"} {
			switch v := c["acquire::"+s+name]; {
			case v == "":
			case strings.EqualFold(v, "DIRECT"), strings.EqualFold(v, "false"):
				return nil, nil
			default:
				return url.Parse(v)
			}
		}
	}
	return http.ProxyFromEnvironment(r)
}
