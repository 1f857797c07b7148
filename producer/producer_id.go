package producer

import (
	"context"
	"errors"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/kafka"
)

// An identity numbers the batches of one producer on one partition, so that a broker
// recognizes a repeat. The zero identity numbers nothing.
type identity struct {
	known    bool
	id       int64
	epoch    int16
	sequence int32
}

// next is the identity of the batch that follows one of n records.
func (i identity) next(n int) identity {
	// Sequences wrap at 2^31.
	i.sequence = int32((int64(i.sequence) + int64(n)) & 0x7fffffff) // #nosec G115 -- masked
	return i
}

// initProducerID asks the cluster for a producer id.
func initProducerID(ctx context.Context, client *kafkago.Client) (identity, error) {
	response, err := client.InitProducerID(ctx, &kafkago.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
	if err != nil {
		return identity{}, err
	}
	if response.Error != nil {
		return identity{}, response.Error
	}
	return identity{known: true, id: int64(response.Producer.ProducerID), epoch: int16(response.Producer.ProducerEpoch)}, nil // #nosec G115 -- an epoch has 16 bits
}

// CheckProducerIDs returns nil if the cluster issues producer ids. It retries until ctx
// ends, or the cluster denies them ([IsProducerIDDenied]).
func CheckProducerIDs(ctx context.Context, cluster *kafka.Cluster) error {
	transport := cluster.Transport()
	defer transport.CloseIdleConnections()
	client := cluster.Client(transport)
	return kafka.Wrap(backoff.Retry(ctx, 200*time.Millisecond, IsProducerIDDenied, func() error {
		_, err := initProducerID(ctx, client)
		return err
	}))
}

// IsProducerIDDenied reports whether err says that the cluster issues the user no
// producer ids: old clusters require a right of its own for them.
func IsProducerIDDenied(err error) bool {
	return errors.Is(err, kafkago.ClusterAuthorizationFailed) || errors.Is(err, kafkago.UnsupportedVersion)
}
