// Subscriber shows how a service that reads the results of invoicebox-worker gets the
// credentials of shops: it reads shop.invoicebox_activated, keeps the highest sequence of
// each shop, and asks the worker's endpoint for the secret behind the reference.
//
// It keeps the credentials in files, one for each shop. A real service has a database and
// encrypts tokens; replace the type folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/segmentio/kafka-go"

	"invoicebox-worker/schemas"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := run(ctx, os.Args[1:], log)
	stop()
	if err != nil {
		log.Error("the subscriber has failed", "err", err.Error())
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(ctx context.Context, args []string, log *slog.Logger) error {
	flags := flag.NewFlagSet("subscriber", flag.ContinueOnError)
	brokers := flags.String("brokers", "localhost:9092", "Kafka brokers, separated by commas")
	topic := flags.String("topic", schemas.TypeActivated, "topic of the activated events")
	group := flags.String("group", "subscriber", "consumer group")
	endpoint := flags.String("credentials-url", "http://127.0.0.1:9465", "address of the worker's --credentials-listen")
	tokenFile := flags.String("token-file", "caller-token", "file with the bearer token of this caller")
	dir := flags.String("dir", "credentials", "folder for the credentials of shops")
	if err := flags.Parse(args); err != nil {
		return err
	}
	token, err := os.ReadFile(*tokenFile)
	if err != nil {
		return err
	}
	s := &subscriber{resolver: newResolver(*endpoint, strings.TrimSpace(string(token)), log), shops: folder{*dir}, log: log}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return err
	}
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: strings.Split(*brokers, ","), Topic: *topic, GroupID: *group, StartOffset: kafka.FirstOffset})
	defer func() { _ = reader.Close() }()
	for {
		m, err := reader.FetchMessage(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.handle(ctx, m); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("partition %d, offset %d: %w", m.Partition, m.Offset, err)
		}
		// Only now: what was read and not kept is read again after a crash.
		if err := reader.CommitMessages(ctx, m); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// A subscriber keeps the credentials of the shops whose events it reads.
type subscriber struct {
	resolver *resolver
	shops    folder
	log      *slog.Logger
}

// handle reads one record and keeps what its reference stands for.
func (s *subscriber) handle(ctx context.Context, m kafka.Message) error {
	in := schemas.Message{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Time: m.Time, Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		in.Headers = append(in.Headers, schemas.Header{Key: h.Key, Value: h.Value})
	}
	// Tolerant: a later version of the contract may add members.
	event, err := schemas.DecodeOutput(in)
	if err != nil {
		return err
	}
	activated, ok := event.Data.(schemas.Activated)
	if !ok {
		return nil // another event of the contract
	}
	kept, err := s.shops.get(activated.PartnerAccount, activated.ShopID)
	if err != nil {
		return err
	}
	if event.Sequence <= kept.Sequence {
		return nil // a repeat, or an older event that comes late
	}
	secret, err := s.resolver.resolve(ctx, activated.Credentials.Ref)
	if errors.Is(err, errUnknown) || errors.Is(err, errDisconnected) {
		// This caller may not read the shop, or it was disconnected meanwhile: a service
		// that also reads shop.invoicebox_disconnected learns it there.
		s.log.Warn("no credentials for a reference", "ref", activated.Credentials.Ref, "err", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	if secret.Account != activated.PartnerAccount || secret.ShopID != activated.ShopID {
		return fmt.Errorf("the credentials are of another shop than the event: %s/%s", secret.Account, secret.ShopID)
	}
	// The sequence decides, not the version: a secret that was moved between stores counts its versions anew.
	kept = record{Version: secret.Version, MerchantID: secret.MerchantID, Token: secret.Token, Sequence: event.Sequence}
	if err := s.shops.put(activated.PartnerAccount, activated.ShopID, kept); err != nil {
		return err
	}
	s.log.Info("a shop can take payments", "account", secret.Account, "shop", secret.ShopID, "version", secret.Version, "sequence", event.Sequence)
	return nil
}
