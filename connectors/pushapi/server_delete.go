package pushapi

import (
	"errors"
	"net/http"

	"github.com/gapless-sync/gapless"
)

// deleteBlock is how many documents one write deletes of those below a path.
const deleteBlock = 4096

// deleteDocuments deletes URIs, all or none. What is not there is ignored.
func (s *Server) deleteDocuments(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	uris, err := c.uris()
	if err != nil {
		return err
	}
	in, err := c.documentIntent()
	if err != nil {
		return err
	}
	in.Batch = deletes(uris)
	receipt, err := c.carryOut(in)
	return c.answerDocuments(in, receipt, err)
}

func deletes(uris []string) *gapless.Batch {
	b := &gapless.Batch{Origin: "push api"}
	for _, uri := range uris {
		b.AppendRow(gapless.Row{Op: gapless.OpDelete, Line: uint64(b.Len() + 1), Key: b.AppendBytes([]byte(uri))})
	}
	return b
}

func (s *Server) deleteRootPath(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	folder, err := c.folder()
	if err != nil {
		return err
	}
	recursive, err := c.flag(ParamRecursive, false)
	if err != nil {
		return err
	}
	mode := NotRecursiveDocuments
	if recursive {
		mode = RecursiveDocuments
	}
	return c.deleteBelow(folder, mode)
}

func (s *Server) deletePrefix(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	prefix, err := c.required(ParamPrefix)
	if err != nil {
		return err
	}
	if prefix == "" {
		return Errorf(TypeInvalidParameter, "empty prefix", "parameter %s is empty; to delete everything, delete by an empty root path", ParamPrefix)
	}
	return c.deleteBelow(prefix, RecursiveDocuments)
}

// deleteBelow deletes what had been accepted when the command came, in blocks:
// the number of documents below a path has no bound. A failure midway leaves
// the blocks before it, and sending the command again completes it.
func (c *exchange) deleteBelow(prefix string, mode EnumerationMode) error {
	in, err := c.intent()
	if err != nil {
		return err
	}
	if _, err := c.carryOut(in); err != nil { // the condition, also if there is nothing to delete
		return err
	}
	count, err := c.deleteBlocks(prefix, mode, in)
	if err != nil {
		return err
	}
	if in.dry {
		return c.text(http.StatusOK, FormatSerial(count))
	}
	return c.text(http.StatusOK, "")
}

// deleteBlocks returns how many documents there are below the prefix.
func (c *exchange) deleteBlocks(prefix string, mode EnumerationMode, in intent) (count uint64, err error) {
	snapshot, err := c.corpus.Snapshot(c.r.Context(), true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	var block []string
	flush := func() error {
		in.Batch = deletes(block)
		block = block[:0]
		_, err := c.carryOut(in)
		return err
	}
	err = walkEntries(c.r.Context(), snapshot, prefix, "", mode, func(e listed) error {
		count++
		if in.dry {
			return nil
		}
		if block = append(block, string(e.uri)); len(block) < deleteBlock {
			return nil
		}
		return flush()
	})
	if err == nil && len(block) > 0 {
		err = flush()
	}
	return count, err
}
