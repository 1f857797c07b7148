package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/kafka"
)

// topicsGroup are the commands about topics.
type topicsGroup struct {
	Create topicsCreate `cmd:"" settings:"kafka-brokers,kafka-tls,kafka-ca-file,kafka-cert-file,kafka-key-file,kafka-sasl-mechanism,kafka-username,kafka-password-file,topic" help:"Create the topics of the contract that do not exist; the others are left alone."`
}

type topicsCreate struct {
	outputFlag
	Partitions  int           `name:"partitions" group:"command" default:"6" help:"Partitions of each topic. Kafka cannot reduce their number later (default ${default})."`
	Replication int           `name:"replication" group:"command" default:"0" help:"Replicas of each partition; 0: 3, or the number of brokers if there are fewer (default ${default})."`
	Retention   time.Duration `name:"retention" group:"command" default:"336h" help:"How long records are kept; the default is that of --maximum-age (default ${default})."`
	DryRun      bool          `name:"dry-run" group:"command" help:"Only show what would be created."`
}

type topicJSON struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Result     string `json:"result"` // created, would be created, exists
}

// Run creates topics.
func (c *topicsCreate) Run(ctx context.Context, s *settings, env environment) error {
	switch {
	case c.Partitions < 1 || c.Partitions > 10_000:
		return &usageError{"--partitions must be 1 to 10000"}
	case c.Replication < 0 || c.Replication > 100:
		return &usageError{"--replication must be 0 to 100"}
	case c.Retention < time.Minute || c.Retention > 100*366*24*time.Hour:
		return &usageError{"--retention must be 1m or longer, such as 168h"}
	}
	if err := s.given.Require("kafka-brokers"); err != nil {
		return err
	}
	o := app.Options{Worker: s.Worker}
	if err := o.CheckTopics(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := s.connection(nil)
	if err != nil {
		return err
	}
	var states []kafka.TopicState
	if c.DryRun {
		states, err = kafka.TopicStates(ctx, conn, o.AllTopics()...)
	} else {
		states, err = kafka.CreateTopics(ctx, conn, o.TopicSpecs(c.Partitions, c.Replication, c.Retention))
	}
	if err != nil {
		return err
	}
	var errs []error
	var views []topicJSON
	var rows [][]any
	for _, t := range states {
		v := topicJSON{Topic: t.Name, Partitions: t.Partitions, Result: "exists"}
		switch {
		case t.Err != nil:
			errs = append(errs, fmt.Errorf("topic %s was not created: %w", t.Name, t.Err))
		case t.Created:
			v.Partitions, v.Result = c.Partitions, "created"
		case t.Partitions == 0:
			v.Partitions, v.Result = c.Partitions, "would be created"
		}
		views = append(views, v)
		rows = append(rows, []any{v.Topic, v.Partitions, v.Result})
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return c.write(env.stdout, views, func(w io.Writer) {
		printTable(w, []any{"topic", "partitions", "result"}, rows, "")
		if c.DryRun {
			_, _ = fmt.Fprintln(w, "nothing was created")
		}
	})
}
