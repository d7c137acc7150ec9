package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
)

// States of jobs and imports, as the original has them.
const (
	statusComplete = "COMPLETE"
	statusRunning  = "INPROGRESS"
	statusError    = "ERROR"
)

// Kinds of jobs.
const (
	jobNothing = "nothing to do"
	jobImport  = "import"
	jobRetire  = "retirement"
)

const (
	jobCollection = "job"
	// maxJobs is how many jobs that have ended are remembered.
	maxJobs = 10_000
)

// job is work that outlives its request, or an import that failed. All other
// imports are known by their serials.
type job struct {
	ID         string       `json:"id"`
	Kind       string       `json:"kind"`
	Source     string       `json:"source,omitempty"`
	Status     string       `json:"status"`
	Code       string       `json:"code,omitempty"`
	Error      string       `json:"error,omitempty"`
	StatusCode int          `json:"statusCode,omitempty"`
	Rows       []rowProblem `json:"rows,omitempty"`

	// Of a retirement: rows of generations before this one are retired.
	Generation uint64 `json:"generation,omitempty"`
	// Decided says that the guard has nothing to say any more.
	Decided bool `json:"decided,omitempty"`
	// Remove says that the source goes with its rows.
	Remove bool `json:"remove,omitempty"`
	// Retired rows by collection.
	Retired map[string]int `json:"retired,omitempty"`
	// Refused is what the guard did not let pass.
	Refused map[string]share `json:"refused,omitempty"`
}

// begun is the reply to the request that began a job.
func (j *job) begun() map[string]string {
	return map[string]string{"id": j.ID, "job_id": j.ID, "status": j.Status}
}

// jobs are those at work. The zero value is not ready: see start.
type jobs struct {
	working sync.WaitGroup
	cancel  context.CancelFunc
	// run calls f in a goroutine of its own, until cancel.
	run func(f func(ctx context.Context))

	mu      sync.Mutex // guards what follows
	running map[string]chan struct{}
	ended   []string // ids of jobs that have, oldest first
	syncs   syncer
}

func (w *jobs) start(ctx context.Context, cancel context.CancelFunc) {
	w.cancel, w.running = cancel, map[string]chan struct{}{}
	w.run = func(f func(ctx context.Context)) { w.working.Go(func() { f(ctx) }) }
}

// newJob gives a job an id; ids sort by time.
func (s *Server) newJob(j job) *job {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	j.ID = fmt.Sprintf("j%012x%s", s.opts.Now().UnixMilli(), hex.EncodeToString(random[:]))
	return &j
}

func isJobID(id string) bool { return strings.HasPrefix(id, "j") && len(id) == 29 }

// save stores a job as it is, with sync durably. The oldest of too many are
// forgotten.
func (s *Server) save(ctx context.Context, j *job, sync bool) error {
	w := newWriting(s.opts.Now(), 0)
	w.upsert(jobCollection, j.ID, encode(j))
	if j.Status != statusRunning {
		for _, id := range s.jobs.end(j.ID) {
			w.delete(jobCollection, id)
		}
	}
	if _, err := s.facts.Commit(ctx, w.batches); err != nil {
		return fmt.Errorf("save job %s: %w", j.ID, err)
	}
	if !sync {
		return nil
	}
	return s.syncFacts(ctx)
}

// end notes that a job has ended and returns those to forget.
func (w *jobs) end(id string) (forget []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, id)
	if over := len(w.ended) - maxJobs; over > 0 {
		forget, w.ended = w.ended[:over], w.ended[over:]
	}
	return forget
}

// syncFacts makes everything durable that was committed before, whatever the
// corpus.
func (s *Server) syncFacts(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return s.jobs.syncs.do(func() error { return s.facts.Sync(ctx) })
}

// finished makes a job that has ended already.
func (s *Server) finished(ctx context.Context, j job) (*job, error) {
	made := s.newJob(j)
	return made, s.save(ctx, made, true)
}

// launch lets a saved job work in the background.
func (s *Server) launch(j *job, src *source) {
	done := make(chan struct{})
	s.jobs.mu.Lock()
	s.jobs.running[j.ID] = done
	s.jobs.mu.Unlock()
	s.jobs.run(func(ctx context.Context) {
		defer func() {
			s.jobs.mu.Lock()
			delete(s.jobs.running, j.ID)
			s.jobs.mu.Unlock()
			close(done)
		}()
		for pause := firstPause; ; pause = min(2*pause, lastPause) {
			attempt := *j // as it was saved: what a failed attempt decided may not be
			err := s.retire(ctx, &attempt, src)
			if err == nil || context.Cause(ctx) != nil {
				return
			}
			s.opts.Logger.Error("a job of the car service failed; it is tried again", "job", j.ID, "source", j.Source, "pause", pause, "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	})
}

// A job that the store fails is tried again after pauses from one of these to
// the other.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// resumeJobs goes on with what a server before this one had begun.
func (s *Server) resumeJobs(ctx context.Context) error {
	snapshot, err := s.facts.Snapshot(ctx, true)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	var open []*job
	err = snapshot.Records(ctx, jobCollection, "", "", func(r gapless.Record) error {
		j := &job{}
		if err := json.Unmarshal(r.Data, j); err != nil {
			return fmt.Errorf("decode job %s: %w", r.Key, err)
		}
		if j.Status == statusRunning {
			open = append(open, j)
		} else {
			s.jobs.ended = append(s.jobs.ended, j.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, j := range open {
		src, err := s.source(ctx, j.Source, true)
		if err != nil {
			return err
		}
		src.ending = j.ID
		s.launch(j, src)
	}
	return nil
}

// job returns a job, or [gapless.ErrNotFound].
func (s *Server) job(ctx context.Context, id string) (*job, error) {
	r, err := s.facts.Get(ctx, jobCollection, id)
	if err != nil {
		return nil, err
	}
	j := &job{}
	if err := json.Unmarshal(r.Data, j); err != nil {
		return nil, fmt.Errorf("decode job %s: %w", id, err)
	}
	return j, nil
}

// outcome returns a job when it has ended, or after a while as it is then.
func (s *Server) outcome(ctx context.Context, id string) (*job, error) {
	if serial, ok := s.importSerial(id); ok {
		return &job{ID: id, Kind: jobImport, Status: statusComplete}, s.durable(ctx, serial)
	}
	if !isJobID(id) {
		return nil, gapless.ErrNotFound
	}
	done := s.jobs.at(id)
	j, err := s.job(ctx, id)
	if err != nil || done == nil && j.Status != statusRunning {
		return j, err
	}
	s.wait(ctx, done) // as long as it may be if the job waits for a restart, so that nobody asks in a circle
	if s.jobs.at(id) == nil {
		return s.job(ctx, id)
	}
	j.Status = statusRunning // whatever it says already, it may not be durable
	return j, nil
}

// at returns what is closed when a job has ended, or nil if it is not at work.
func (w *jobs) at(id string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if done := w.running[id]; done != nil {
		return done
	}
	return nil
}

// jobReply is what is told of a job.
type jobReply struct {
	*job
	JobID   string `json:"job_id"`
	Approve string `json:"approve,omitempty"`
}

func (j *job) reply() jobReply {
	r := jobReply{job: j, JobID: j.ID}
	if len(j.Refused) > 0 {
		r.Approve = j.ID
	}
	return r
}

// jobStatus holds the question until the job has ended: the original framework
// asks again without a pause.
func (s *Server) jobStatus(c *exchange) error {
	j, err := s.outcome(c.r.Context(), c.path[1])
	if errors.Is(err, gapless.ErrNotFound) {
		return notFound("there is no job %q", clip(c.path[1]))
	}
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, j.reply())
}

func (s *Server) jobsStatus(c *exchange) error {
	ids := importIDs(c.r.URL.RawQuery)
	if len(ids) == 0 {
		return malformed("parameter ids is missing")
	}
	list := []jobReply{}
	for _, id := range ids {
		j, err := s.outcome(c.r.Context(), id)
		if errors.Is(err, gapless.ErrNotFound) {
			return notFound("there is no job %q", clip(id))
		}
		if err != nil {
			return err
		}
		list = append(list, j.reply())
	}
	return c.reply(http.StatusOK, map[string]any{"jobs": list})
}
