package pacifica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gapless-sync/gapless"
)

// maxNetrc bounds the file that is read.
const maxNetrc = 1 << 20

// netrcLogin returns what the netrc file has for a host: the file that NETRC
// names, or .netrc in the home directory. Without an entry both are empty.
func netrcLogin(host string, getenv func(string) string) (login, password string, err error) {
	path, named := getenv("NETRC"), true
	if path == "" {
		home := getenv("HOME")
		if home == "" {
			return "", "", nil
		}
		path, named = filepath.Join(home, ".netrc"), false
	}
	info, err := os.Stat(path)
	if !named && errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err == nil && info.Size() > maxNetrc {
		err = fmt.Errorf("it has more than %d bytes", maxNetrc)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", "", gapless.Misconfigured(fmt.Errorf("read netrc file %s: %w", path, err))
	}
	login, password = findNetrc(string(text), host)
	return login, password, nil
}

// findNetrc returns login and password of the first entry for host, or else of
// the default entry. Words that mean nothing here are passed over.
func findNetrc(text, host string) (login, password string) {
	words := netrcWords(text)
	for i := 0; i < len(words); i++ {
		switch {
		case words[i] == "machine" && i+1 < len(words):
			i++
			if strings.EqualFold(words[i], host) {
				return netrcEntry(words[i+1:])
			}
		case words[i] == "default":
			return netrcEntry(words[i+1:])
		case (words[i] == "login" || words[i] == "user" || words[i] == "password" || words[i] == "account") && i+1 < len(words):
			i++ // its value may look like a keyword
		}
	}
	return "", ""
}

// netrcEntry reads what follows the name of a machine, up to the next one.
func netrcEntry(words []string) (login, password string) {
	for i := 0; i+1 < len(words); i += 2 {
		switch words[i] {
		case "login", "user":
			login = words[i+1]
		case "password":
			password = words[i+1]
		case "account":
		default:
			return login, password
		}
	}
	return login, password
}

// netrcWords splits a file into words, without comments and macros. A macro
// ends with an empty line.
func netrcWords(text string) []string {
	var words []string
	macro := false
	for line := range strings.Lines(text) {
		fields := netrcFields(line)
		if macro {
			macro = len(fields) > 0
			continue
		}
		for _, word := range fields {
			if word == "macdef" {
				macro = true
				break
			}
			words = append(words, word)
		}
	}
	return words
}

// netrcFields splits a line at blanks; a word may stand in double quotes, with
// backslashes before what is meant literally. A word that begins with # where a
// keyword may stand begins a comment.
func netrcFields(line string) []string {
	var fields []string
	for {
		line = strings.TrimLeft(line, " \t\r\n\v\f")
		if line == "" || line[0] == '#' && len(fields)%2 == 0 {
			return fields
		}
		var word strings.Builder
		quoted := line[0] == '"'
		i := 0
		if quoted {
			i++
		}
		for ; i < len(line); i++ {
			c := line[i]
			if quoted && c == '"' || !quoted && strings.IndexByte(" \t\r\n\v\f", c) >= 0 {
				i++
				break
			}
			if c == '\\' && i+1 < len(line) {
				i++
				c = line[i]
			}
			word.WriteByte(c)
		}
		fields = append(fields, word.String())
		line = line[i:]
	}
}
