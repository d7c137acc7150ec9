package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
)

// Variables that the command line gives to configurations.
const (
	folderVariable = "FOLDER"
	goRootVariable = "GOROOT"
	configVariable = "GAPLESS_CONFIG"
)

// projectFlags say which project a command is about.
type projectFlags struct {
	config string
	set    []string
}

// add declares the flags.
func (f *projectFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "configuration `FILE`, or a folder with "+config.FileName)
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "give a variable of the configuration a value: `NAME=VALUE`; no secrets, others see them")
}

// addNamed declares the flags for a command whose arguments name connectors,
// and completes those beside files.
func (f *projectFlags) addNamed(w *world, cmd *cobra.Command) {
	f.add(cmd)
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		quiet := *w
		quiet.err = io.Discard
		l, err := quiet.locate(f, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return l.Names(), cobra.ShellCompDirectiveDefault
	}
}

// located is a project found and loaded.
type located struct {
	*config.Config
	// named are the connectors named on the command line; all if empty.
	named []string
	// variables that the configuration refers to, as far as they are set.
	variables map[string]string
}

// chosen returns the connectors meant.
func (l *located) chosen() ([]config.Connector, error) {
	if len(l.named) == 0 {
		return l.Connectors, nil
	}
	list := make([]config.Connector, 0, len(l.named))
	for _, name := range l.named {
		c, err := l.Connector(name)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// choice is what the command line says about the project.
type choice struct {
	// path of the configuration; empty if none was named.
	path string
	set  map[string]string
	// words are the arguments that are neither configuration nor folder.
	words []string
	// explicit says that path or a value was given now, not remembered.
	explicit bool
	// recalled are values that were remembered.
	recalled map[string]string
}

// locate finds the project that flags and arguments mean and loads it. Of the
// arguments, the first may name the configuration, one with a path separator
// the folder for ${FOLDER}, and the others connectors; a word that is no
// connector's name but a folder's is the folder, too.
func (w *world) locate(f *projectFlags, args []string) (*located, error) {
	c, err := w.choose(f, args)
	if err != nil {
		return nil, err
	}
	if err := w.discover(c); err != nil {
		return nil, err
	}
	l, err := w.load(c)
	if err != nil {
		return nil, err
	}
	if w.takeFolder(c, l) {
		if l, err = w.load(c); err != nil {
			return nil, err
		}
	}
	if err := w.checkUsed(c, l); err != nil {
		return nil, err
	}
	if c.explicit && w.pinned == nil {
		remember(w.lookup, w.dir, c)
	}
	l.named = c.words
	return l, nil
}

func (w *world) choose(f *projectFlags, args []string) (*choice, error) {
	c := &choice{set: map[string]string{}, explicit: f.config != "" || len(f.set) > 0}
	for _, s := range f.set {
		name, value, found := strings.Cut(s, "=")
		if !found || name == "" {
			return nil, usage("--set wants NAME=VALUE, not %q", s)
		}
		c.set[name] = value
	}
	if f.config != "" {
		c.path = w.abs(f.config)
	}
	for i, arg := range args {
		switch {
		case i == 0 && c.path == "" && w.isConfig(arg):
			c.path, c.explicit = w.abs(arg), true
		case looksLikePath(arg):
			if err := w.setFolder(c, arg); err != nil {
				return nil, err
			}
		default:
			c.words = append(c.words, arg)
		}
	}
	return c, nil
}

func (w *world) setFolder(c *choice, arg string) error {
	if given, twice := c.set[folderVariable]; twice {
		return usage("%s: one folder is given already: %s", arg, given)
	}
	if !isFolder(w.abs(arg)) {
		return usage("%s: there is no such folder, nor a configuration", arg)
	}
	c.set[folderVariable], c.explicit = w.abs(arg), true
	return nil
}

// takeFolder makes a word that is no connector's name but a folder's the
// folder, and reports whether it did.
func (w *world) takeFolder(c *choice, l *located) bool {
	if _, given := c.set[folderVariable]; given && c.recalled[folderVariable] == "" {
		return false
	}
	for i, word := range c.words {
		if !slices.Contains(l.Names(), word) && isFolder(w.abs(word)) {
			c.set[folderVariable], c.explicit = w.abs(word), true
			c.words = slices.Delete(c.words, i, i+1)
			return true
		}
	}
	return false
}

// checkUsed refuses values that would have no effect.
func (w *world) checkUsed(c *choice, l *located) error {
	for _, name := range slices.Sorted(maps.Keys(c.set)) {
		_, used := l.variables[name]
		if _, old := c.recalled[name]; used || old {
			continue
		}
		e := usage("%s does not refer to ${%s}, so giving it a value has no effect", l.File, name)
		if name == folderVariable {
			return e.WithHint("write path: ${%s:-.} where the folder belongs", folderVariable)
		}
		return e.WithHint("it refers to %s", strings.Join(slices.Sorted(maps.Keys(l.variables)), ", "))
	}
	return nil
}

// discover finds the project if none is named: the one GAPLESS_CONFIG names,
// the one in this folder, or the one that was last named in this folder.
func (w *world) discover(c *choice) error {
	if w.pinned != nil {
		c.path = w.pinned.path
		return nil
	}
	if c.path != "" {
		return nil
	}
	if path, ok := w.lookup(configVariable); ok && path != "" {
		c.path = w.abs(path)
		return nil
	}
	if w.isConfig(w.dir) {
		c.path = w.dir
		return nil
	}
	last, ok := recall(w.lookup, w.dir)
	if !ok {
		return gapless.Errorf(gapless.CodeConfig, w.dir, "no %s here, and no project was named", config.FileName).
			WithHint("write one with gapless init, or name one: --config FOLDER")
	}
	c.path, c.recalled = last.Config, map[string]string{}
	for name, value := range last.Set {
		if _, given := c.set[name]; !given {
			c.set[name], c.recalled[name] = value, value
		}
	}
	w.note("%s", w.dim("project "+w.relative(c.path)+setText(c.recalled)+" (last named here)"))
	return nil
}

func setText(set map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(set)) {
		b.WriteString(" " + name + "=" + set[name])
	}
	return b.String()
}

func (w *world) load(c *choice) (*located, error) {
	l := &located{variables: map[string]string{}}
	lookup := func(name string) (string, bool) {
		value, found := w.variable(c, name)
		if found {
			l.variables[name] = value
		}
		return value, found
	}
	loaded, problems, err := config.Load(c.path, lookup, w.catalog.Connectors())
	if err != nil {
		return nil, err
	}
	for i := range problems {
		problems[i].File = w.relative(problems[i].File)
	}
	if len(problems) > 0 {
		return nil, &unusable{problems}
	}
	l.Config = loaded
	return l, nil
}

// unusable is a configuration with problems.
type unusable struct{ problems []config.Problem }

func (u *unusable) Error() string { return config.AsError(u.problems).Error() }
func (u *unusable) Unwrap() error { return config.AsError(u.problems) }

func (w *world) variable(c *choice, name string) (string, bool) {
	if value, ok := c.set[name]; ok {
		return value, true
	}
	if value, ok := w.lookup(name); value != "" || name != goRootVariable || w.pinned != nil {
		return value, ok
	}
	return goRoot()
}

// goRoot returns the folder of the Go distribution whose go command is on
// PATH, without executing it.
func goRoot() (string, bool) {
	command, err := exec.LookPath("go")
	if err != nil {
		return "", false
	}
	if command, err = filepath.EvalSymlinks(command); err != nil {
		return "", false
	}
	// Some distributions keep the sources elsewhere and link to them.
	src, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(command), "..", "src"))
	if err != nil || !isFolder(filepath.Join(src, "runtime")) {
		return "", false
	}
	return filepath.Dir(src), true
}

func (w *world) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(w.dir, path)
}

// relative shows a path the short way.
func (w *world) relative(path string) string {
	if r, err := filepath.Rel(w.dir, path); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}

// isConfig reports whether path is a configuration, or a folder that holds
// one.
func (w *world) isConfig(path string) bool {
	path = w.abs(path)
	if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
		return true
	}
	info, err := os.Stat(filepath.Join(path, config.FileName))
	return err == nil && info.Mode().IsRegular()
}

func looksLikePath(arg string) bool {
	return strings.ContainsAny(arg, `/\`) || arg == "." || arg == ".."
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// named is the project that was last named in a folder.
type named struct {
	Config string            `json:"config"`
	Set    map[string]string `json:"set,omitempty"`
}

// memoryFile returns where the project last named in dir is remembered: in the
// user's cache, which may be lost at any time.
func memoryFile(lookup config.Lookup, dir string) (string, bool) {
	cache, ok := lookup("XDG_CACHE_HOME")
	if !ok || !filepath.IsAbs(cache) {
		var err error
		if cache, err = os.UserCacheDir(); err != nil {
			return "", false
		}
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(cache, "gapless", hex.EncodeToString(sum[:8])+".json"), true
}

// remember notes the project named in dir. Failing to is no failure: the
// project then has to be named again.
func remember(lookup config.Lookup, dir string, c *choice) {
	file, ok := memoryFile(lookup, dir)
	if !ok {
		return
	}
	text, err := json.Marshal(named{Config: c.path, Set: c.set})
	if err != nil {
		return
	}
	if old, err := os.ReadFile(file); err == nil && string(old) == string(text) {
		return
	}
	if os.MkdirAll(filepath.Dir(file), 0o700) == nil {
		_ = os.WriteFile(file, text, 0o600) // see above
	}
}

func recall(lookup config.Lookup, dir string) (named, bool) {
	var n named
	file, ok := memoryFile(lookup, dir)
	if !ok {
		return n, false
	}
	text, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(text, &n) != nil || n.Config == "" {
		return n, false
	}
	if _, err := os.Stat(n.Config); err != nil {
		return n, false
	}
	return n, true
}
