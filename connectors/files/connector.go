package files

import (
	"context"
	"path/filepath"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
)

// Connector declares directory trees as a source.
func Connector() gapless.Connector {
	return gapless.Connector{
		Name:    "files",
		Summary: "Directory trees: one record per file, its content as a part",
		Help:    help,
		Example: example,
		Source:  gapless.OpenSource(open),
	}
}

// options of the source.
type options struct {
	Path        string           `option:"path,required" help:"Folder to read. Relative paths are relative to the configuration file." example:"./docs"`
	Include     []string         `option:"include" help:"Patterns of files to read; without any, all files are read." example:"*.md"`
	Exclude     []string         `option:"exclude" default:".git" help:"Patterns of files and folders to leave out." example:"node_modules"`
	Symlinks    string           `option:"symlinks" default:"skip" enum:"skip,follow" help:"What to do with symbolic links. Links that point out of the folder are never followed."`
	ContentHash bool             `option:"content_hash" default:"false" help:"Tell changes by the hash of the content instead of size and times. Reads every file of a changed tree."`
	MaxSize     gapless.ByteSize `option:"max_size" default:"64MiB" help:"Files larger than this are rejected."`
	Collection  string           `option:"collection" default:"file" help:"Collection that the records belong to."`
}

const example = `files:
  path: ./docs
  include: ["*.md", "*.html"]
  exclude: [.git, node_modules]
`

const help = `Reads a directory tree. Each regular file is one record:

* **key**: the path below the folder, with forward slashes;
* **version**: size, time of modification and time of change, or a hash of the
  content with ` + "`content_hash: true`" + `;
* **data**: ` + "`path`, `name`, `ext`, `size`, `modified`, `type`" + `;
* **part** ` + "`content`" + `: the bytes of the file, opened only if the record changed.

### Patterns

` + "`*`, `?` and `[a-z]`" + ` match within one segment of a path, ` + "`**`" + ` matches any number
of segments. A pattern without a slash applies at any depth (` + "`*.md`" + `), one with a
slash starts at the folder (` + "`docs/**/*.md`, `/README.md`" + `). A pattern that matches a
folder covers everything below it. Exclusion wins over inclusion. ` + "`.git`" + ` is left out
unless ` + "`exclude`" + ` says otherwise.

### What counts as a change

A run lists the tree and compares. If no file and no folder was touched since
the last run, nothing else happens. A file that changed so recently that it
could change again within the same step of the file system's clock is looked at
once more by the next run.

### What cannot be read

* A folder that cannot be listed fails the run after everything else has been
  read, and nothing is deleted.
* A file that cannot be opened, is larger than ` + "`max_size`" + `, has a name that is not
  UTF-8, or changes while it is read becomes a dead letter; the next run tries
  again.
* Devices, sockets and pipes are passed over. Nothing outside the folder is ever
  opened, whatever a link says.
`

func open(_ context.Context, o options, env gapless.Env) (gapless.Source, error) {
	s := &source{
		tree:        &tree{path: o.Path, follow: o.Symlinks == "follow"},
		collection:  o.Collection,
		contentHash: o.ContentHash,
		maxSize:     int64(o.MaxSize),
		clock:       stamp.SystemClock(),
	}
	if !filepath.IsAbs(s.tree.path) {
		s.tree.path = filepath.Join(env.Dir, s.tree.path)
	}
	var err error
	if s.tree.include, err = parseGlobs(o.Include); err != nil {
		return nil, invalid("include", err)
	}
	if s.tree.exclude, err = parseGlobs(o.Exclude); err != nil {
		return nil, invalid("exclude", err)
	}
	return s, nil
}

func invalid(option string, err error) error {
	return gapless.Misconfigured(gapless.OptionError{Option: option, Problem: err.Error(), Code: gapless.CodeInvalidOption})
}
