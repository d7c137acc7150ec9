package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// broker starts a NATS server in this process.
func broker(t *testing.T, port int, store string) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: store, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

func connected(t *testing.T, s *server.Server) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// streaming connects to a server, which keeps events in a stream.
func streaming(t *testing.T, s *server.Server) jetstream.JetStream {
	t.Helper()
	stream, err := jetstream.New(connected(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"pacifica.*"}}); err != nil {
		t.Fatal(err)
	}
	return stream
}

// following lets a door follow a subject until the returned function is
// called.
func following(t *testing.T, d *eventDoor, s eventSubject) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { d.follow(ctx, s) })
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// handled is work that sends the ids of its events.
func handled() (chan string, func(context.Context, event.Event) error) {
	ids := make(chan string, 100)
	return ids, func(_ context.Context, e event.Event) error {
		ids <- e.ID
		return nil
	}
}

// received waits for n ids.
func received(t *testing.T, ids chan string, n int) []string {
	t.Helper()
	var got []string
	for range n {
		select {
		case id := <-ids:
			got = append(got, id)
		case <-time.After(20 * time.Second):
			t.Fatalf("only %v arrived", got)
		}
	}
	slices.Sort(got)
	return got
}

func numbered(id int) []byte {
	return fmt.Appendf(nil, `{"specversion":"1.0","type":"t","source":"s","id":"%d"}`, id)
}

func TestEventsFromNATS(t *testing.T) {
	t.Parallel()
	s := broker(t, server.RANDOM_PORT, t.TempDir())
	c := connected(t, s)
	ids, work := handled()
	d := openDoorOf(t, eventOptions{Work: work})
	runDoor(t, d)
	following(t, d, eventSubject{URL: s.ClientURL(), Subject: "pacifica.>"})
	for s.GlobalAccount().Interest("pacifica.ingest") == 0 {
		runtime.Gosched() // until it listens
	}
	messages := []*nats.Msg{
		{Subject: "pacifica.ingest", Data: numbered(1)},
		{Subject: "pacifica.ingest", Data: numbered(1)},
		{Subject: "other", Data: numbered(2)},
		{Subject: "pacifica.ingest", Data: []byte(ingest)},
		{Subject: "pacifica.ingest", Data: []byte("no event"), Header: nats.Header{"a": {"b"}}},
		{Subject: "pacifica.orm", Header: nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"binary"}, "ce-source": {"s"}, "ce-type": {"t"}}, Data: []byte("{}")},
		{Subject: "pacifica.orm", Header: nats.Header{"content-type": {"application/cloudevents+json"}}, Data: numbered(3)},
	}
	for _, m := range messages {
		if err := c.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"1", "3", "binary", "metadata.ingest.67"}
	if diff := cmp.Diff(want, received(t, ids, len(want))); diff != "" {
		t.Error(diff)
	}
	list, err := d.pending()
	if err != nil {
		t.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(p PendingEvent) bool { return !p.Dead }) // the last may not be marked yet
	if len(list) != 1 || list[0].Reason != "read the event: invalid character 'o' in literal null (expecting 'u')" {
		t.Errorf("%+v", list)
	}
}

// TestEventsFromJetStream stops the door between events, and then the server:
// all arrive, each once.
func TestEventsFromJetStream(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	s := broker(t, server.RANDOM_PORT, store)
	stream := streaming(t, s)
	publish := func(id int) {
		t.Helper()
		if _, err := stream.Publish(t.Context(), "pacifica.ingest", numbered(id)); err != nil {
			t.Fatal(err)
		}
	}
	ids, work := handled()
	d := openDoorOf(t, eventOptions{Dir: filepath.Join(t.TempDir(), "events"), Work: work})
	runDoor(t, d)
	subject := eventSubject{URL: s.ClientURL(), Subject: "pacifica.*", Stream: "EVENTS", Durable: "gapless"}
	publish(1) // before anybody listens
	stop := following(t, d, subject)
	if diff := cmp.Diff([]string{"1"}, received(t, ids, 1)); diff != "" {
		t.Error(diff)
	}
	stop()
	publish(2)
	publish(1)
	following(t, d, subject)
	publish(3)
	if diff := cmp.Diff([]string{"2", "3"}, received(t, ids, 2)); diff != "" {
		t.Error(diff)
	}
	consumer, err := stream.Consumer(t.Context(), "EVENTS", "gapless")
	if err != nil {
		t.Fatal(err)
	}
	for pending := 1; pending > 0; { // until everything is acknowledged
		info, err := consumer.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pending = info.NumAckPending + int(info.NumPending)
	}
	port := s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	broker(t, port, store)
	for published := false; !published && t.Context().Err() == nil; { // it may come twice
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := stream.Publish(ctx, "pacifica.ingest", numbered(4))
		published = err == nil
		cancel()
	}
	if diff := cmp.Diff([]string{"4"}, received(t, ids, 1)); diff != "" {
		t.Error(diff)
	}
	if len(ids) != 0 {
		t.Errorf("%s came twice", <-ids)
	}
}

// TestStreamIsLeftInOrder stops the door while messages are on their way to it:
// whoever comes next gets the others at once, before the server's wait for
// answers of half a minute is over.
func TestStreamIsLeftInOrder(t *testing.T) {
	t.Parallel()
	s := broker(t, server.RANDOM_PORT, t.TempDir())
	stream := streaming(t, s)
	const published = 100
	for id := range published {
		if _, err := stream.Publish(t.Context(), "pacifica.ingest", numbered(id)); err != nil {
			t.Fatal(err)
		}
	}
	ids, work := handled()
	d := openDoorOf(t, eventOptions{Work: work})
	runDoor(t, d)
	subject := eventSubject{URL: s.ClientURL(), Subject: "pacifica.*", Stream: "EVENTS", Durable: "gapless"}
	stop := following(t, d, subject)
	received(t, ids, 1)
	stop()
	following(t, d, subject)
	received(t, ids, published-1)
}

// TestUnstoredMessagesComeAgain refuses to store at first.
func TestUnstoredMessagesComeAgain(t *testing.T) {
	t.Parallel()
	s := broker(t, server.RANDOM_PORT, t.TempDir())
	stream := streaming(t, s)
	ids, work := handled()
	d := openDoorOf(t, eventOptions{Work: work})
	var writes atomic.Int64
	d.queue.disk.watch = func(step diskStep, _ string) error {
		if step == stepWrite && writes.Add(1) == 1 {
			return errors.New("no space left on device")
		}
		return nil
	}
	runDoor(t, d)
	if _, err := stream.Publish(t.Context(), "pacifica.ingest", numbered(1)); err != nil {
		t.Fatal(err)
	}
	following(t, d, eventSubject{URL: s.ClientURL(), Subject: "pacifica.*", Stream: "EVENTS", Durable: "gapless"})
	received(t, ids, 1)
	if writes.Load() < 2 {
		t.Error("it was stored at once")
	}
}

// TestCredentialsOfAddresses has addresses that hold a password and cannot be
// used, or are told of.
func TestCredentialsOfAddresses(t *testing.T) {
	t.Parallel()
	d := openDoorOf(t, eventOptions{})
	for _, address := range []string{"nats://user:secret%zz@127.0.0.1:1", "nats://user:secret/word@127.0.0.1:1", "nats://us er:secret@127.0.0.1:1"} {
		if err := d.listen(t.Context(), eventSubject{URL: address, Subject: "a"}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"https://user:secret@host/carts", "https://user:secret%zz@host"} {
		r := config.Reaction{Download: &config.EventDownload{Cart: address, To: "t"}}
		if text := r.String(); strings.Contains(text, "secret") || strings.Contains(address, "carts") && !strings.Contains(text, "https://host/carts") {
			t.Errorf("%s: %s", address, text)
		}
	}
}
