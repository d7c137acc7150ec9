package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
	"github.com/gapless-sync/gapless/httpx"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// eventSubject is a subject of NATS that events are taken from.
type eventSubject struct {
	// URL of the server, or several with commas between them.
	URL string
	// Subject may have wildcards.
	Subject string
	// Stream is the one of JetStream that keeps the subject's messages, and
	// Durable the name under which it remembers which ones were stored here.
	// Without a stream, messages that are sent while nobody listens are lost.
	Stream, Durable string
	// Credentials is a file with the user's token and key, if the server wants
	// one.
	Credentials string
}

// natsWait is the wait before a server is asked again.
const natsWait = 2 * time.Second

// natsLeave is how long a server that is connected has for what it has sent to
// be stored, when the door closes.
const natsLeave = 10 * time.Second

// follow takes events from a subject until the context ends. Whatever goes
// wrong is logged and tried again.
func (d *eventDoor) follow(ctx context.Context, s eventSubject) {
	for {
		err := d.listen(ctx, s)
		if ctx.Err() != nil {
			return
		}
		d.logger.Warn("no events from NATS", "subject", s.Subject, "error", err)
		if httpx.Sleep(ctx, natsWait) != nil {
			return
		}
	}
}

// listen takes events over one connection, which finds servers again by itself.
func (d *eventDoor) listen(ctx context.Context, s eventSubject) error {
	options := []nats.Option{
		nats.Name("gapless"), nats.MaxReconnects(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			d.logger.Warn("NATS", "subject", s.Subject, "error", err)
		}),
	}
	if s.Credentials != "" {
		options = append(options, nats.UserCredentials(s.Credentials))
	}
	connection, err := nats.Connect(s.URL, options...)
	if _, ok := errors.AsType[*url.Error](err); ok {
		err = errors.New("its address is no URL") // the error repeats what may hold a password
	}
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer connection.Close()
	if s.Stream == "" {
		return d.listenCore(ctx, connection, s.Subject)
	}
	return d.listenStream(ctx, connection, s)
}

// listenCore takes messages as they come. The server does not keep them: one
// that cannot be stored is tried until it can.
func (d *eventDoor) listenCore(ctx context.Context, connection *nats.Conn, subject string) error {
	subscription, err := connection.SubscribeSync(subject)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	for {
		message, err := subscription.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrSlowConsumer) {
			continue // messages were lost, which the handler of errors has logged
		}
		if err != nil {
			return fmt.Errorf("listen to %s: %w", subject, err)
		}
		for {
			err := d.take(message.Header, message.Data)
			if err == nil {
				break
			}
			d.logger.Error("an event was not stored", "subject", message.Subject, "error", err)
			if err := httpx.Sleep(ctx, natsWait); err != nil {
				return err
			}
		}
	}
}

// listenStream takes messages of a stream, each of which the server sends again
// until it is stored.
func (d *eventDoor) listenStream(ctx context.Context, connection *nats.Conn, s eventSubject) error {
	stream, err := jetstream.New(connection)
	if err != nil {
		return fmt.Errorf("ask for JetStream: %w", err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, s.Stream, jetstream.ConsumerConfig{
		Durable: s.Durable, FilterSubject: s.Subject, AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		return fmt.Errorf("consume stream %s: %w", s.Stream, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(32))
	if err != nil {
		return fmt.Errorf("consume stream %s: %w", s.Stream, err)
	}
	defer messages.Stop()
	// The server takes a message as being handled from when it sends it, also to
	// one who is leaving: what is on its way by then is stored, or it would come
	// again only after the server's wait for an answer.
	defer context.AfterFunc(ctx, func() {
		if !connection.IsConnected() {
			connection.Close()
		}
		messages.Drain()
		time.AfterFunc(natsLeave, connection.Close)
	})()
	for {
		message, err := messages.Next()
		if err != nil {
			return fmt.Errorf("read stream %s: %w", s.Stream, err)
		}
		if err = d.take(message.Headers(), message.Data()); err == nil {
			err = message.Ack()
		} else {
			err = errors.Join(err, message.NakWithDelay(natsWait))
		}
		if err != nil { // the server sends it again
			d.logger.Error("an event was not taken", "subject", message.Subject(), "error", err)
		}
	}
}

// take stores the events of a message. One that has none is stored among the
// dead: its sender cannot be told.
func (d *eventDoor) take(header nats.Header, message []byte) error {
	events, err := event.FromRequest(http.Header(header), message)
	if err == nil {
		_, err = d.queue.accept(events)
	}
	if gapless.KindOf(err) != gapless.KindRejected {
		return err
	}
	d.logger.Warn("a message is no event", "error", err)
	return d.queue.bury(http.Header(header), message, err)
}
