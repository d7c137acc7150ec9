package files

import (
	"fmt"
	"path"
	"strings"
)

// glob is a compiled pattern over slash-separated paths. Within a segment the
// syntax is that of [path.Match]; the segment ** stands for any number of
// segments. A pattern without a slash applies at any depth, and a pattern that
// matches a folder covers everything below it.
type glob []string

// parseGlob compiles a pattern. A trailing slash is ignored, a leading one
// ties the pattern to the root.
func parseGlob(pattern string) (glob, error) {
	trimmed := strings.TrimSuffix(pattern, "/")
	anchored := strings.Contains(trimmed, "/")
	trimmed = strings.TrimPrefix(trimmed, "/")
	if trimmed == "" {
		return nil, fmt.Errorf("pattern %q is empty", pattern)
	}
	segments := strings.Split(trimmed, "/")
	if !anchored {
		segments = append([]string{"**"}, segments...)
	}
	var g glob
	for _, segment := range segments {
		if segment == "" {
			return nil, fmt.Errorf("pattern %q has an empty segment", pattern)
		}
		if segment == "**" && len(g) > 0 && g[len(g)-1] == "**" {
			continue
		}
		if _, err := path.Match(segment, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: segment %q is malformed", pattern, segment)
		}
		g = append(g, segment)
	}
	return g, nil
}

// match reports whether the pattern matches name exactly. It takes time in
// the product of both lengths, whatever the pattern.
func (g glob) match(name string) bool {
	var fixed [16]bool
	reach := fixed[:] // reach[i]: the first i segments match what was consumed
	if len(g) >= len(reach) {
		reach = make([]bool, len(g)+1)
	}
	reach = reach[:len(g)+1]
	reach[0] = true
	g.skip(reach)
	for rest, more := name, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		g.step(reach, part)
	}
	return reach[len(g)]
}

// step consumes one path segment.
func (g glob) step(reach []bool, part string) {
	for i := len(g); i > 0; i-- {
		switch {
		case g[i-1] == "**":
			reach[i] = reach[i] || reach[i-1]
		case reach[i-1]:
			reach[i], _ = path.Match(g[i-1], part)
		default:
			reach[i] = false
		}
	}
	reach[0] = false
	g.skip(reach)
}

// skip lets each ** that is reached stand for no segment at all.
func (g glob) skip(reach []bool) {
	for i, segment := range g {
		if segment == "**" && reach[i] {
			reach[i+1] = true
		}
	}
}

// globs is a list of patterns of which one must match.
type globs []glob

func parseGlobs(patterns []string) (globs, error) {
	var list globs
	for _, pattern := range patterns {
		g, err := parseGlob(pattern)
		if err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, nil
}

func (l globs) match(name string) bool {
	for _, g := range l {
		if g.match(name) {
			return true
		}
	}
	return false
}
