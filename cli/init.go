package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
)

func newInit(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Write a first configuration with comments",
		Long: `Writes ` + config.FileName + ` with one connector and every setting, explained and with its
default. An existing configuration is never overwritten.`,
		Example: `  gapless init
  gapless init my-project`,
		Args: between(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := w.dir
			if len(args) == 1 {
				dir = w.abs(args[0])
			}
			return w.init(dir)
		},
	}
}

func (w *world) init(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return usage("create the project's folder: %w", err)
	}
	path := filepath.Join(dir, config.FileName)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return gapless.Errorf(gapless.CodeUsage, w.relative(path), "it exists already").WithHint("edit it, or name another folder")
	}
	if err != nil {
		return usage("create the configuration: %w", err)
	}
	_, err = file.WriteString(config.Sample(w.catalog.Connectors()))
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if w.json {
		return w.printJSON(map[string]string{"config": path})
	}
	w.printf("wrote %s\n", w.relative(path))
	w.printf("  -> edit its path, then: gapless plan %s\n", w.relative(dir))
	return nil
}
