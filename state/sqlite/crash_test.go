package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// The test binary runs itself as a child: GAPLESS_STATE_CHILD names what the
// child does in folder GAPLESS_STATE_DIR.
func TestMain(m *testing.M) {
	children := map[string]func(context.Context, string) error{"open": childOpens, "commit": childCommits, "settle": childSettles}
	child, ok := children[os.Getenv("GAPLESS_STATE_CHILD")]
	if !ok {
		os.Exit(m.Run())
	}
	if err := child(context.Background(), os.Getenv("GAPLESS_STATE_DIR")); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func childCommand(t *testing.T, child, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "GAPLESS_STATE_CHILD="+child, "GAPLESS_STATE_DIR="+dir)
	return cmd
}

func childOpens(ctx context.Context, dir string) error {
	s, err := Open(ctx, dir)
	if err != nil {
		return err
	}
	connectors, err := s.Connectors(ctx)
	if err == nil && len(connectors) != 0 {
		err = fmt.Errorf("new store holds %v", connectors)
	}
	if err != nil {
		return err
	}
	return s.Close()
}

func TestProcessesMigrateTheStoreTogether(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		start func(t *testing.T, dir string)
	}{
		{"new", func(*testing.T, string) {}},
		{"old", makeOld},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				dir := t.TempDir()
				test.start(t, dir)
				var group sync.WaitGroup
				for range 6 {
					group.Go(func() {
						if out, err := childCommand(t, "open", dir).CombinedOutput(); err != nil {
							t.Errorf("%v: %s", err, out)
						}
					})
				}
				group.Wait()
				mustAcquire(t, mustOpen(t, dir))
			}
		})
	}
}

// childCommits continues where its predecessor was killed, and prints the
// number of each commit once it has been acknowledged.
func childCommits(ctx context.Context, dir string) error {
	s, l, err := childLease(ctx, dir)
	if err != nil {
		return err
	}
	var previous *proof.Certificate
	if last, err := s.LastCertificate(ctx, "c", "p"); err == nil {
		previous = &last
	}
	for {
		certificate := proof.Certificate{Connector: "c", Partition: "p", Run: "r-1", Mode: proof.ModeFull, Epoch: l.Epoch}
		certificate.Seal(previous)
		number := certificate.Seq
		run := state.Run{ID: fmt.Sprintf("r-%d", number), Connector: "c", Epoch: l.Epoch, Status: state.StatusRunning}
		letter := state.DeadLetter{Connector: "c", Partition: "p", Key: fmt.Sprint(number), Body: make([]byte, 100*(number%50))}
		err := s.Commit(ctx, l, state.Commit{
			Run: &run, Partitions: []state.Partition{{Connector: "c", ID: "p", Seq: number}},
			Certificates: []proof.Certificate{certificate}, DeadLetters: []state.DeadLetter{letter},
		})
		if err != nil {
			return err
		}
		fmt.Println(number)
		previous = &certificate
	}
}

// childLease opens the store and takes the lease from a predecessor that was
// killed.
func childLease(ctx context.Context, dir string) (*Store, state.Lease, error) {
	s, err := Open(ctx, dir)
	if err != nil {
		return nil, state.Lease{}, err
	}
	held, err := s.Connector(ctx, "c")
	if err == nil && held.Lease.Holder != "" {
		err = s.Release(ctx, held.Lease) // its holder is known to be dead
	}
	if err != nil && held.Name != "" {
		return nil, state.Lease{}, err
	}
	l, err := s.Acquire(ctx, "c", "child", time.Hour, time.Now())
	return s, l, err
}

func TestKilledAtAnyPointNothingAcknowledgedIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 20 {
		acknowledged := killAfter(t, "commit", dir, 1+3*(round%5), time.Duration(round)*300*time.Microsecond)
		s := mustOpen(t, dir)
		partitions, err := s.Partitions(t.Context(), "c")
		if err != nil || len(partitions) != 1 {
			t.Fatalf("round %d: %+v, %v", round, partitions, err)
		}
		stored := partitions[0].Seq
		if stored < acknowledged {
			t.Errorf("round %d: %d commits acknowledged, %d stored", round, acknowledged, stored)
		}
		var counted uint64
		for certificate, err := range s.Certificates(t.Context(), "c") {
			if counted++; err != nil || certificate.Seq != counted {
				t.Fatalf("round %d: certificate %d: %+v, %v", round, counted, certificate, err)
			}
		}
		runs, err := s.Runs(t.Context(), "c", 0)
		if err != nil {
			t.Fatal(err)
		}
		letters, err := s.DeadLetters(t.Context(), state.DeadLetterFilter{})
		if err != nil {
			t.Fatal(err)
		}
		if counted != stored || len(runs) != int(stored) || len(letters) != int(stored) {
			t.Errorf("round %d: half a commit: at %d with %d certificates, %d runs, %d letters", round, stored, counted, len(runs), len(letters))
		}
		var verdict string
		if err := s.write.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
			t.Errorf("round %d: %s, %v", round, verdict, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// stagedAtOnce is how many keys childSettles stages and settles at once.
const stagedAtOnce = 50

func childSettles(ctx context.Context, dir string) error {
	s, l, err := childLease(ctx, dir)
	if err != nil {
		return err
	}
	if err := s.Unstage(ctx, l); err != nil {
		return err
	}
	for {
		fmt.Println(l.Epoch) // the calls before are acknowledged
		collection := fmt.Sprintf("%d", time.Now().UnixNano())
		var news []state.News
		c := state.Commit{Conflicts: []state.Conflict{{ID: "x-" + collection, Connector: "c", Collection: collection, At: time.Now()}}}
		for i := range stagedAtOnce {
			key := fmt.Sprint(i)
			news = append(news, state.News{Collection: collection, Key: key, Data: make([]byte, 300)})
			c.Entries = append(c.Entries, state.Entry{Collection: collection, Key: key, Value: make([]byte, 100)})
		}
		if err := s.Stage(ctx, l, news); err != nil {
			return err
		}
		if err := s.Commit(ctx, l, c); err != nil {
			return err
		}
	}
}

func TestKilledAtAnyPointNewsAreSettledAsOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 15 {
		killAfter(t, "settle", dir, 1+round%4, time.Duration(round)*400*time.Microsecond)
		s := mustOpen(t, dir)
		count := func(query string) map[string]int {
			counts := map[string]int{}
			err := eachRow(t.Context(), s.read, func(row scan) error {
				var name string
				var n int
				err := row(&name, &n)
				counts[name] = n
				return err
			}, query)
			if err != nil {
				t.Fatal(err)
			}
			return counts
		}
		news := count(`SELECT name, COUNT(*) FROM news JOIN collections ON id = collection GROUP BY name`)
		entries := count(`SELECT name, COUNT(*) FROM entries JOIN collections ON id = collection GROUP BY name`)
		conflicts := count(`SELECT collection, COUNT(*) FROM conflicts GROUP BY collection`)
		for name, n := range news {
			if n != stagedAtOnce || entries[name] != 0 {
				t.Errorf("round %d: %d news and %d entries of one call", round, n, entries[name])
			}
		}
		for name, n := range entries {
			if n != stagedAtOnce || conflicts[name] != 1 {
				t.Errorf("round %d: %d entries and %d conflicts of one commit", round, n, conflicts[name])
			}
		}
		if len(news) > 1 || len(entries) != len(conflicts) {
			t.Errorf("round %d: %d calls staged, %d with entries, %d with conflicts", round, len(news), len(entries), len(conflicts))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killAfter starts a child and kills it a moment after it has acknowledged so
// many commits. It returns the number of the last one acknowledged.
func killAfter(t *testing.T, child, dir string, commits int, moment time.Duration) uint64 {
	t.Helper()
	cmd := childCommand(t, child, dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last uint64
	lines := bufio.NewScanner(out)
	for seen := 0; lines.Scan(); seen++ {
		if seen == commits {
			time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
		}
		number, err := strconv.ParseUint(strings.TrimSpace(lines.Text()), 10, 64)
		if err != nil {
			t.Fatalf("child says %s", lines.Text())
		}
		last = number
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("child ended by itself")
	}
	return last
}
