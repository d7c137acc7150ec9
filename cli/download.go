package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pacifica"
	"github.com/gapless-sync/gapless/transfer"
)

type downloadOptions struct {
	in io.Reader

	event, manifest, policy, cart, base string
	transaction                         int64

	to, name                             string
	dryRun, verifyOnly, allowUnverified  bool
	bandwidth                            string
	streams, cartSize                    int
	keepCart                             bool
	timeout, idle                        time.Duration
	login, passwordFile, tokenFile       string
	headerFile, ca, certificate, keyFile string
}

func newDownload(w *world) *cobra.Command {
	var o downloadOptions
	cmd := &cobra.Command{
		Use:   "download (--event FILE | --transaction N | --manifest FILE) --to DIR",
		Short: "Bring files into a folder, every byte verified",
		Long: `Brings the files that an event or a transaction of Pacifica names, through its cart
server, or those of a list with URLs. A file has its name in the folder only when
its content has the hash that was promised and is on the disk; until then it lies
in .gapless there. Exit code 0 means that every file is there and right.

The same command continues what was interrupted: what is there is not fetched
again, and a file that was begun goes on where it ended if the server allows it.
Files that are there but wrong are replaced.

A list has one file a line: what sha256sum and its like print, or
  {"path": "a/b.txt", "size": 5, "hash": "sha256:...", "url": "https://..."}

Credentials go to the cart and policy servers, or to the server of --base, and to
nobody else: a login with --user and its password from --password-file or
$GAPLESS_PASSWORD, a token from --token-file or $GAPLESS_TOKEN, or lines such as
"X-Key: abc" from --header-file. Cart and policy servers are otherwise given the
login that ~/.netrc has for them. Proxies are those of the environment.

It needs no project. With --json every event is one line, and the report the line
of type done.`,
		Example: `  gapless download --event ingest.json --cart https://cart.example.org:8081 --to files
  gapless download --transaction 67 --policy https://policy.example.org:8181 \
      --cart https://cart.example.org:8081 --to files --name data
  gapless download --manifest SHA256SUMS --base https://example.org/release/ --to files
  gapless download --manifest SHA256SUMS --base https://example.org/release/ --to files --verify-only`,
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd.Flags().Changed); err != nil {
				return err.WithHint("see %s --help", cmd.CommandPath())
			}
			o.in = cmd.InOrStdin()
			return w.download(cmd.Context(), &o)
		},
	}
	o.add(cmd)
	return cmd
}

// add declares the flags.
func (o *downloadOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.event, "event", "", "CloudEvent about an ingest, or a list of such: a `FILE`, or - for standard input")
	f.Int64Var(&o.transaction, "transaction", 0, "`NUMBER` of a transaction that the policy server knows")
	f.StringVar(&o.manifest, "manifest", "", "list of files with hashes and URLs: a `FILE`, or - for standard input")
	f.StringVar(&o.cart, "cart", "", "`URL` of the cart server (default $CARTD_CART_API_URL or http://127.0.0.1:8081)")
	f.StringVar(&o.policy, "policy", "", "`URL` of the policy server")
	f.StringVar(&o.base, "base", "", "`URL` of the folder that paths and URLs of the list are relative to")
	f.StringVar(&o.to, "to", "", "`FOLDER` to bring the files into; made if it is not there")
	f.StringVar(&o.name, "name", "", "bring them into the folder `NAME` below that; data is where the original client puts them")
	f.BoolVar(&o.dryRun, "dry-run", false, "only tell what would be fetched, and how much is there")
	f.BoolVar(&o.verifyOnly, "verify-only", false, "only read every file and tell what is missing or wrong")
	f.BoolVar(&o.allowUnverified, "allow-unverified", false, "take files that have no hash")
	f.IntVar(&o.streams, "streams", 4, "fetch `N` files or carts at a time")
	f.StringVar(&o.bandwidth, "bwlimit", "", "fetch at most `SIZE` per second, such as 10MB")
	f.IntVar(&o.cartSize, "cart-size", pacifica.DefaultCartFiles, "order at most `N` files in one cart")
	f.BoolVar(&o.keepCart, "keep-cart", false, "leave the carts at the server")
	f.DurationVar(&o.timeout, "timeout", 0, "stop after this `TIME`, such as 2h30m; without it a cart has 1h to be staged, and the rest no limit")
	f.DurationVar(&o.idle, "idle-timeout", time.Minute, "how long a server may be silent: `TIME`")
	f.StringVar(&o.login, "user", "", "log in as `NAME`")
	f.StringVar(&o.passwordFile, "password-file", "", "`FILE` with the password (default $GAPLESS_PASSWORD)")
	f.StringVar(&o.tokenFile, "token-file", "", "`FILE` with a bearer token (default $GAPLESS_TOKEN)")
	f.StringVar(&o.headerFile, "header-file", "", "`FILE` with header lines to send")
	f.StringVar(&o.certificate, "client-cert", "", "PEM `FILE` of a client certificate")
	f.StringVar(&o.keyFile, "client-key", "", "PEM `FILE` of its key")
	f.StringVar(&o.ca, "ca", "", "PEM `FILE` of the authorities to trust instead of the system's")
}

// check refuses flags that do not make sense together.
func (o *downloadOptions) check(given func(flag string) bool) *gapless.Error {
	kinds := 0
	for _, kind := range []string{"event", "transaction", "manifest"} {
		if given(kind) {
			kinds++
		}
	}
	if kinds != 1 {
		return usage("want one of --event, --transaction and --manifest, to know which files")
	}
	switch {
	case o.to == "":
		return usage("--to is missing, the folder to bring files into")
	case given("transaction") != given("policy"):
		return usage("--transaction and --policy go together: the policy server knows the files of a transaction")
	case given("base") && !given("manifest"):
		return usage("--base is for --manifest")
	case o.dryRun && o.verifyOnly:
		return usage("--dry-run and --verify-only exclude each other")
	case o.streams < 1 || o.cartSize < 1:
		return usage("--streams and --cart-size begin at 1")
	case o.timeout < 0 || o.idle <= 0:
		return usage("--timeout and --idle-timeout are no times to wait")
	}
	for _, flag := range []string{"cart", "cart-size", "keep-cart"} {
		if given(flag) && given("manifest") {
			return usage("--%s is not for --manifest, whose files are fetched by their URLs", flag)
		}
	}
	for _, address := range []string{o.cart, o.policy, o.base} {
		if u, err := url.Parse(address); err == nil && u.User != nil {
			return usage("the URL at %s has a login in it, which others see on the command line; use --user and --password-file", u.Host)
		}
	}
	if o.name != "" {
		if err := transfer.CheckPath(o.name); err != nil {
			return usage("--name: %w", err)
		}
	}
	return nil
}

// download brings the files and prints the account of that.
func (w *world) download(ctx context.Context, o *downloadOptions) (err error) {
	if o.timeout > 0 {
		over := gapless.Recoverable(fmt.Errorf("the time of --timeout %s is over", o.timeout))
		timed, cancel := context.WithTimeoutCause(ctx, o.timeout, over)
		defer cancel()
		ctx = timed
	}
	bandwidth := gapless.ByteSize(0)
	if o.bandwidth != "" {
		if bandwidth, err = gapless.ParseByteSize(o.bandwidth); err != nil || bandwidth <= 0 {
			return usage("--bwlimit %s is no number of bytes, such as 10MB", o.bandwidth)
		}
	}
	a := &account{w: w, options: o, dir: filepath.Join(w.abs(o.to), filepath.FromSlash(o.name))}
	list, err := w.openList(ctx, o, a.notice)
	if err != nil {
		return o.explain(list.name, err)
	}
	defer func() { err = errors.Join(err, list.close()) }()
	report, err := transfer.Run(ctx, transfer.Job{
		Dir: a.dir, Files: list.files, Supplier: list.supplier, Group: list.group,
		Streams: o.streams, Idle: o.idle, Bandwidth: bandwidth,
		AllowUnverified: o.allowUnverified, VerifyOnly: o.verifyOnly, DryRun: o.dryRun,
		Events: a.event,
	})
	err = o.explain(list.name, err)
	a.end(report, err)
	return err
}

// explain adds to an error what it is about, if it does not say so, and what to
// do next where that depends on the command line.
func (o *downloadOptions) explain(list string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*gapless.Error](err)
	switch {
	case !ok && gapless.KindOf(err) == gapless.KindMisconfigured:
		return usage("%w", err).WithHint("see gapless download --help")
	case !ok && errors.Is(err, gapless.ErrNotFound):
		return gapless.Errorf(gapless.CodeNotFound, "", "%w", err).WithHint("check the number and --policy")
	case !ok:
		e = gapless.Errorf(gapless.CodeFiles, list, "%w", err)
	case e.Code == gapless.CodeFileList:
		return &gapless.Error{Code: e.Code, Subject: list, Hint: e.Hint, Err: err}
	case e.Code != gapless.CodeFiles || e.Hint != "":
		return err
	}
	f, _ := errors.AsType[*gapless.Failure](err)
	switch {
	case f != nil && f.Cause == gapless.CauseAuthentication:
		return e.WithHint("check --user and --password-file, --token-file or --header-file, and run the same command again")
	case o.verifyOnly:
		return e.WithHint("remove the files that are wrong and run the same command without --verify-only: it fetches what is not there")
	case f != nil && f.Cause == gapless.CauseUnreachable:
		return e.WithHint("check that the address is right and the server there; the same command then continues")
	}
	return e
}
