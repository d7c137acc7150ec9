package pacifica

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"path/filepath"
	"strings"
	"time"

	"github.com/gapless-sync/gapless/event"
	"github.com/gapless-sync/gapless/transfer"
)

// Downloader brings what events and transactions name into one location.
type Downloader struct {
	location string
	carts    *CartAPI
}

// NewDownloader returns a downloader into the folder location, which is made when
// it is needed, from the cart server of opts. Its errors are those of
// [NewCartAPI].
func NewDownloader(location string, opts CartOptions) (*Downloader, error) {
	if location == "" {
		return nil, invalidOption("location", errors.New("is empty"))
	}
	carts, err := NewCartAPI(opts)
	if err != nil {
		return nil, err
	}
	return &Downloader{location, carts}, nil
}

// CartAPI returns the downloader's client of the cart server.
func (d *Downloader) CartAPI() *CartAPI { return d.carts }

// Close drops idle connections.
func (d *Downloader) Close() error { return d.carts.Close() }

// DownloadOptions are the optional arguments of a download. The zero value is
// useful.
type DownloadOptions struct {
	// Filename is the folder below the location that the files come into,
	// without any .tar in it. Defaults to data; a full stop is the location
	// itself.
	Filename string
	// Wait bounds the staging of one cart; 0 is [DefaultWait].
	Wait time.Duration
	// KeepCarts leaves the carts at the server.
	KeepCarts bool
	// Job says how to transfer. Dir, Files and Supplier are the downloader's;
	// Group defaults to [DefaultCartFiles].
	Job transfer.Job
}

// CloudEvent brings the files that an event names.
func (d *Downloader) CloudEvent(ctx context.Context, e event.Event, opts DownloadOptions) (transfer.Report, error) {
	return d.Files(ctx, FilesOfEvent(e), opts)
}

// TransactionInfo brings the files of a transaction as the policy server
// describes it.
func (d *Downloader) TransactionInfo(ctx context.Context, info []byte, opts DownloadOptions) (transfer.Report, error) {
	return d.Files(ctx, FilesOfTransaction(info), opts)
}

// Files brings files whose origins are ids of the archive. The report and the
// errors are those of [transfer.Run].
func (d *Downloader) Files(ctx context.Context, files iter.Seq2[transfer.File, error], opts DownloadOptions) (transfer.Report, error) {
	folder := strings.ReplaceAll(cmp.Or(opts.Filename, rootFolder), ".tar", "")
	if folder != "." {
		if err := transfer.CheckPath(folder); err != nil || strings.Contains(folder, "/") {
			return transfer.Report{}, invalidOption("filename", errors.New("is no name of a folder"))
		}
	}
	job := opts.Job
	job.Dir = filepath.Join(d.location, folder)
	job.Files = files
	job.Supplier = &Carts{API: d.carts, Wait: opts.Wait, Keep: opts.KeepCarts}
	job.Group = cmp.Or(job.Group, DefaultCartFiles)
	return transfer.Run(ctx, job)
}
