package kafkatest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// PartitionOffsets are the bounds of what one partition holds.
type PartitionOffsets struct {
	Partition int
	First     int64 // the first offset that can still be read
	Next      int64 // the offset that the next record gets: the high watermark
}

// Produce writes messages in the given order, placed by their keys as Java's
// clients do, and returns when all replicas have them. Only Key, Value, Headers
// and Time of a message count.
func (c *Cluster) Produce(tb testing.TB, topic string, messages []kafkago.Message) {
	tb.Helper()
	if err := c.TryProduce(topic, messages); err != nil {
		tb.Fatalf("kafkatest: producing to %s: %v", topic, err)
	}
}

// TryProduce is Produce for a write that may fail. After an error any part of
// the messages may have been written.
func (c *Cluster) TryProduce(topic string, messages []kafkago.Message) error {
	client, done, err := c.client()
	if err != nil {
		return err
	}
	defer done()
	writer := &kafkago.Writer{
		Addr:         client.Addr,
		Topic:        topic,
		Balancer:     kafkago.Murmur2Balancer{},
		RequiredAcks: kafkago.RequireAll,
		Transport:    client.Transport,
		MaxAttempts:  20,
		BatchSize:    10_000,
		// The broker's limit is on a whole batch with its headers, the
		// writer's on what it estimates.
		BatchBytes:   int64(c.config.MaxMessageBytes),
		BatchTimeout: time.Millisecond,
		ReadTimeout:  patience,
		WriteTimeout: patience,
	}
	plain := make([]kafkago.Message, len(messages))
	for i, m := range messages {
		plain[i] = kafkago.Message{Key: m.Key, Value: m.Value, Headers: m.Headers, Time: m.Time}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(writer.WriteMessages(ctx, plain...), writer.Close())
}

// ReadAll gives every record that the topic holds at this moment, partition by
// partition in the order of their numbers, each in the order of its offsets.
func (c *Cluster) ReadAll(tb testing.TB, topic string) []kafkago.Message {
	tb.Helper()
	var messages []kafkago.Message
	for _, bounds := range c.Offsets(tb, topic) {
		messages = append(messages, c.readPartition(tb, topic, bounds)...)
	}
	return messages
}

// Await waits until the topic holds at least n records and gives all of them,
// as ReadAll does. The test fails when they do not come within a minute.
func (c *Cluster) Await(tb testing.TB, topic string, n int) []kafkago.Message {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := poll(ctx, func() error {
		var held int64
		for _, bounds := range c.Offsets(tb, topic) {
			held += bounds.Next - bounds.First
		}
		if held < int64(n) {
			return fmt.Errorf("%d of %d records", held, n)
		}
		return nil
	})
	if err != nil {
		tb.Fatalf("kafkatest: waiting on %s: %v", topic, err)
	}
	return c.ReadAll(tb, topic)
}

// Offsets gives the bounds of every partition of the topic, in the order of
// their numbers.
func (c *Cluster) Offsets(tb testing.TB, topic string) []PartitionOffsets {
	tb.Helper()
	var bounds []PartitionOffsets
	c.request(tb, "offsets of "+topic, func(ctx context.Context, client *kafkago.Client) error {
		partitions, err := partitionsOf(ctx, client, topic)
		if err != nil {
			return err
		}
		request := &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{}}
		for _, p := range partitions {
			request.Topics[topic] = append(request.Topics[topic], kafkago.FirstOffsetOf(p), kafkago.LastOffsetOf(p))
		}
		response, err := client.ListOffsets(ctx, request)
		if err != nil {
			return err
		}
		bounds = bounds[:0]
		for _, p := range response.Topics[topic] {
			if p.Error != nil {
				return p.Error
			}
			bounds = append(bounds, PartitionOffsets{Partition: p.Partition, First: p.FirstOffset, Next: p.LastOffset})
		}
		if len(bounds) != len(partitions) {
			return fmt.Errorf("%d of %d partitions answered", len(bounds), len(partitions))
		}
		return nil
	})
	slices.SortFunc(bounds, func(a, b PartitionOffsets) int { return cmp.Compare(a.Partition, b.Partition) })
	return bounds
}

// Committed gives the offsets that a consumer group has committed, by
// partition; one without a commit is not in it.
func (c *Cluster) Committed(tb testing.TB, group, topic string) map[int]int64 {
	tb.Helper()
	committed := map[int]int64{}
	c.request(tb, "offsets of group "+group, func(ctx context.Context, client *kafkago.Client) error {
		partitions, err := partitionsOf(ctx, client, topic)
		if err != nil {
			return err
		}
		response, err := client.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{
			GroupID: group,
			Topics:  map[string][]int{topic: partitions},
		})
		if err != nil {
			return err
		}
		if errors.Is(response.Error, kafkago.GroupIdNotFound) {
			return nil // the embedded broker's word for a group that never was
		}
		if response.Error != nil {
			return response.Error
		}
		clear(committed)
		for _, p := range response.Topics[topic] {
			if p.Error != nil {
				return p.Error
			}
			if p.CommittedOffset >= 0 {
				committed[p.Partition] = p.CommittedOffset
			}
		}
		return nil
	})
	return committed
}

func (c *Cluster) readPartition(tb testing.TB, topic string, bounds PartitionOffsets) []kafkago.Message {
	tb.Helper()
	var messages []kafkago.Message
	next := bounds.First
	c.request(tb, fmt.Sprintf("records of %s/%d", topic, bounds.Partition), func(ctx context.Context, client *kafkago.Client) error {
		for next < bounds.Next {
			response, err := client.Fetch(ctx, &kafkago.FetchRequest{
				Topic:     topic,
				Partition: bounds.Partition,
				Offset:    next,
				MinBytes:  1,
				MaxBytes:  16 << 20,
				MaxWait:   500 * time.Millisecond,
			})
			if err != nil {
				return err
			}
			if response.Error != nil {
				return response.Error
			}
			before := next
			for {
				record, err := response.Records.ReadRecord()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return err
				}
				// A batch may begin before the offset that was asked for,
				// and end after what ReadAll promised.
				if record.Offset < next || record.Offset >= bounds.Next {
					continue
				}
				m, err := message(topic, bounds, record)
				if err != nil {
					return err
				}
				messages = append(messages, m)
				next = record.Offset + 1
			}
			if next == before {
				return fmt.Errorf("nothing at offset %d, below the high watermark %d", next, bounds.Next)
			}
		}
		return nil
	})
	return messages
}

func message(topic string, bounds PartitionOffsets, record *kafkago.Record) (kafkago.Message, error) {
	key, err := kafkago.ReadAll(record.Key)
	if err != nil {
		return kafkago.Message{}, err
	}
	value, err := kafkago.ReadAll(record.Value)
	if err != nil {
		return kafkago.Message{}, err
	}
	return kafkago.Message{
		Topic:         topic,
		Partition:     bounds.Partition,
		Offset:        record.Offset,
		HighWaterMark: bounds.Next,
		Key:           key,
		Value:         value,
		Headers:       record.Headers,
		Time:          record.Time,
	}, nil
}

func partitionsOf(ctx context.Context, client *kafkago.Client, topic string) ([]int, error) {
	metadata, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	var partitions []int
	for _, t := range metadata.Topics {
		if t.Error != nil {
			return nil, t.Error
		}
		for _, p := range t.Partitions {
			partitions = append(partitions, p.ID)
		}
	}
	if len(partitions) == 0 {
		return nil, fmt.Errorf("topic %s: %w", topic, kafkago.UnknownTopicOrPartition)
	}
	return partitions, nil
}

// request puts a question that changes nothing until it is answered: a broker may
// just be away, or a leader on the move.
func (c *Cluster) request(tb testing.TB, what string, question func(context.Context, *kafkago.Client) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := poll(ctx, func() error {
		client, done, err := c.client()
		if err != nil {
			return err
		}
		defer done()
		return question(ctx, client)
	})
	if err != nil {
		tb.Fatalf("kafkatest: %s: %v", what, err)
	}
}
