package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"invoicebox-worker/schemas"
)

// A platform emits the events of the shops and receives the results.
type platform struct {
	progress *progress
	look     func() // brings progress up to date with the calls
	lender   *shop
	writer   *kafkago.Writer
	broker   string
	rnd      *rand.Rand // under mu
	mu       sync.Mutex
	pace     time.Duration // between the first shops; the pause before a code is a few of it
}

func newPlatform(b *progress, look func(), broker string, seed uint64, pace time.Duration) *platform {
	return &platform{
		progress: b, look: look, lender: b.shops[0], broker: broker, pace: pace,
		rnd: rand.New(rand.NewPCG(seed, 1)), // #nosec G404 -- paces a demo
		writer: &kafkago.Writer{
			Addr: kafkago.TCP(broker), Balancer: kafkago.Murmur2Balancer{}, RequiredAcks: kafkago.RequireAll,
			BatchTimeout: time.Millisecond, WriteTimeout: 30 * time.Second,
		},
	}
}

// run lets every shop appear and reacts to the results, until ctx ends.
func (p *platform) run(ctx context.Context) error {
	defer func() { _ = p.writer.Close() }()
	g, ctx := errgroup.WithContext(ctx)
	received := make(chan schemas.Event, 1024)
	for _, typ := range schemas.OutputTypes() {
		for partition := range partitions {
			g.Go(func() error { return p.subscribe(ctx, typ, partition, received) })
		}
	}
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case e := <-received:
				p.look() // a call comes before the event about it
				if s, w := p.progress.receive(e); w == enterCode {
					// Registration, documents, a code by mail: days in life, a moment here.
					g.Go(func() error { return p.later(ctx, p.jitter(6), func() error { return p.enter(ctx, s) }) })
				}
			}
		}
	})
	g.Go(func() error { return p.appear(ctx) })
	return g.Wait()
}

func (p *platform) subscribe(ctx context.Context, topic string, partition int, received chan<- schemas.Event) error {
	r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{p.broker}, Topic: topic, Partition: partition, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 100 * time.Millisecond})
	defer func() { _ = r.Close() }()
	for {
		m, err := r.ReadMessage(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		in := schemas.Message{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			in.Headers = append(in.Headers, schemas.Header{Key: h.Key, Value: h.Value})
		}
		e, err := schemas.DecodeOutput(in, schemas.Strict)
		if err != nil {
			return fmt.Errorf("an event of ours breaks the contract: %w", err)
		}
		select {
		case received <- e:
		case <-ctx.Done():
			return nil
		}
	}
}

// appear lets the shops choose Invoicebox one after the other, with one record
// among them that nobody can read.
func (p *platform) appear(ctx context.Context) error {
	for i, s := range p.progress.shops {
		if err := p.later(ctx, p.jitter(1), func() error { return p.choose(ctx, s) }); err != nil {
			return err
		}
		if i == len(p.progress.shops)/3 {
			if err := p.write(ctx, kafkago.Message{Topic: schemas.TypeProviderSelected, Key: []byte("?"), Value: []byte(`{"shopId": "shop-??", "provider": "invoicebox", "email":`)}); err != nil {
				return err
			}
			p.add("", "half a record, cut off in the middle", bad)
		}
	}
	return nil
}

func (p *platform) choose(ctx context.Context, s *shop) error {
	provider := schemas.Provider
	if s.scenario.other {
		provider = "another-provider"
	}
	p.add(s.id, "chose "+provider, plain)
	p.step(s, selected)
	err := p.emit(ctx, s, schemas.TypeProviderSelected, 0, fmt.Sprintf(`{"shopId":%q,"provider":%q,"email":%q}`, s.id, provider, s.address()))
	if s.scenario.other {
		p.progress.mu.Lock()
		s.finish(ignored)
		p.progress.mu.Unlock()
	}
	return err
}

func (p *platform) enter(ctx context.Context, s *shop) error {
	p.progress.mu.Lock()
	if s.scenario.borrows && s.entered == 0 && p.lender.step != ended {
		p.progress.mu.Unlock() // it can only borrow what the lender has used
		return p.later(ctx, p.pace, func() error { return p.enter(ctx, s) })
	}
	n := s.entered
	s.entered++
	p.progress.mu.Unlock()
	text := "entered its code"
	if n > 0 {
		text = "entered another code"
	}
	p.add(s.id, text, plain)
	p.step(s, entered)
	return p.emit(ctx, s, schemas.TypeCodeEntered, n, fmt.Sprintf(`{"shopId":%q,"activationCode":%q}`, s.id, s.code(n, p.lender)))
}

func (p *platform) step(s *shop, to step) {
	p.progress.mu.Lock()
	defer p.progress.mu.Unlock()
	s.step = to
}

func (p *platform) add(shop, text string, m mood) {
	p.progress.mu.Lock()
	defer p.progress.mu.Unlock()
	p.progress.add(fromPlatform, shop, text, m)
}

func (p *platform) emit(ctx context.Context, s *shop, typ string, n int, data string) error {
	m := kafkago.Message{Topic: typ, Key: []byte(s.id), Value: []byte(data), Headers: []kafkago.Header{
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_id", Value: fmt.Appendf(nil, "%s-%d", s.id, n)},
		{Key: "ce_source", Value: []byte("/demo/platform")},
		{Key: "ce_type", Value: []byte(typ)},
		{Key: "content-type", Value: []byte("application/json")},
	}}
	if s.scenario.twice {
		return p.write(ctx, m, m)
	}
	return p.write(ctx, m)
}

func (p *platform) write(ctx context.Context, ms ...kafkago.Message) error {
	if err := p.writer.WriteMessages(ctx, ms...); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the platform cannot write to Kafka: %w", err)
	}
	return nil
}

// later waits, unless the demo ends before.
func (p *platform) later(ctx context.Context, d time.Duration, do func() error) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-t.C:
		return do()
	}
}

func (p *platform) jitter(paces int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration((0.5 + p.rnd.Float64()) * float64(paces) * float64(p.pace))
}
