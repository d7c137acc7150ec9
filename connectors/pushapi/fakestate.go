package pushapi

import (
	"maps"
	"slices"
	"strings"
)

// fakeCorpus is one connector's documents and checkpoints, as received and as
// synced.
type fakeCorpus struct {
	pushed, synced fakeState
	unsynced       []func(*fakeState)
}

type fakeState struct {
	docs        map[string]Document
	checkpoints map[string]string
}

func newFakeState() fakeState {
	return fakeState{docs: map[string]Document{}, checkpoints: map[string]string{}}
}

func (s fakeState) clone() fakeState {
	return fakeState{docs: maps.Clone(s.docs), checkpoints: maps.Clone(s.checkpoints)}
}

func (c *fakeCorpus) view(pushed bool) fakeState {
	if pushed {
		return c.pushed
	}
	return c.synced
}

// folderPrefix returns what the URIs below a root path begin with.
func folderPrefix(rootPath string) string {
	if rootPath == "" || strings.HasSuffix(rootPath, "/") {
		return rootPath
	}
	return rootPath + "/"
}

// entries lists what is below a root path in ascending order of URIs.
func (s fakeState) entries(rootPath string, mode EnumerationMode) []SyncedEntry {
	prefix := folderPrefix(rootPath)
	var list []SyncedEntry
	for _, uri := range slices.Sorted(maps.Keys(s.docs)) {
		rest, below := strings.CutPrefix(uri, prefix)
		folder, _, nested := strings.Cut(rest, "/")
		switch {
		case !below:
		case mode.Recursive() || !nested && mode.Documents():
			list = append(list, SyncedEntry{URI: uri, Stamp: s.docs[uri].Stamp})
		case nested && mode.Folders():
			entry := SyncedEntry{URI: prefix + folder, Folder: true}
			if len(list) == 0 || list[len(list)-1] != entry {
				list = append(list, entry)
			}
		}
	}
	return list
}

// merge completes updates by what was received before; latest holds what came
// earlier in the same request.
func (c *fakeCorpus) merge(latest map[string]Document, docs []Document) error {
	for i := range docs {
		old, ok := latest[docs[i].URI]
		if !ok {
			old, ok = c.pushed.docs[docs[i].URI]
		}
		if !ok {
			e := Errorf(TypeUnknownDocument, "unknown document", "there is no such document to update")
			e.URI = docs[i].URI
			return e
		}
		docs[i] = mergeDocument(old, docs[i])
		latest[docs[i].URI] = docs[i]
	}
	return nil
}

// mergeDocument returns old with what update names replaced.
func mergeDocument(old, update Document) Document {
	if update.Stamp == "" {
		update.Stamp = old.Stamp
	}
	update.Metas = append(slices.DeleteFunc(slices.Clone(old.Metas), func(m Meta) bool {
		return slices.ContainsFunc(update.Metas, func(n Meta) bool { return n.Name == m.Name })
	}), update.Metas...)
	update.Directives = slices.DeleteFunc(update.Directives, func(d Directive) bool { return d.Name == DirectiveField })
	update.Directives = append(slices.DeleteFunc(slices.Clone(old.Directives), func(d Directive) bool {
		return slices.ContainsFunc(update.Directives, func(n Directive) bool { return n.Name == d.Name })
	}), update.Directives...)
	update.Parts = append(slices.DeleteFunc(slices.Clone(old.Parts), func(p Part) bool {
		return slices.ContainsFunc(update.Parts, func(n Part) bool { return n.name() == p.name() })
	}), update.Parts...)
	return update
}
