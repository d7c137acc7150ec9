package stamp_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/stamp"
)

func TestStampTellsEveryDifference(t *testing.T) {
	t.Parallel()
	base := stamp.Stamp{Size: 1, Modified: 2, Changed: 3, Inode: 4}
	seen := map[string]stamp.Stamp{string(base.Append(nil)): base}
	for _, other := range []stamp.Stamp{
		{Size: 2, Modified: 2, Changed: 3, Inode: 4}, {Size: 1, Modified: 3, Changed: 3, Inode: 4},
		{Size: 1, Modified: 2, Changed: 4, Inode: 4}, {Size: 1, Modified: 2, Changed: 3, Inode: 5}, {Size: 12, Changed: 3, Inode: 4},
	} {
		text := string(other.Append(nil))
		if same, again := seen[text]; again {
			t.Errorf("%+v and %+v are both %s", same, other, text)
		}
		seen[text] = other
	}
}

func TestOfAnEditedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	stat := func(text string) stamp.Stamp {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return stamp.Of(info)
	}
	was := stat("one")
	if !was.Fresh(time.Now()) {
		t.Error("a file written just now cannot change unseen")
	}
	if is := stat("three"); is == was {
		t.Errorf("%+v before and after", is)
	}
}

func TestFresh(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 500)
	fine, coarse := stamp.Stamp{Changed: at.UnixNano()}, stamp.Stamp{Changed: time.Unix(1000, 0).UnixNano()}
	for _, test := range []struct {
		name string
		s    stamp.Stamp
		seen time.Time
		want bool
	}{
		{"within a tick", fine, at.Add(stamp.FineStep / 2), true},
		{"ticks later", fine, at.Add(2 * stamp.FineStep), false},
		{"within two seconds of a coarse clock", coarse, at.Add(time.Second), true},
		{"seconds later", coarse, at.Add(3 * time.Second), false},
		{"in the future", fine, at.Add(-time.Hour), true},
	} {
		if got := test.s.Fresh(test.seen); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

func TestSaltNeverRepeats(t *testing.T) {
	t.Parallel()
	if a, b := string(stamp.AppendSalt(nil)), string(stamp.AppendSalt(nil)); a == b {
		t.Errorf("%s twice", a)
	}
}
