package kafka

import (
	"context"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// optional are the APIs that not every broker offers. For an API that a broker
// does not list the library sends version 0, and the broker closes the
// connection, which looks like a broken one.
var optional = map[protocol.ApiKey]bool{
	protocol.InitProducerId:       true,
	protocol.DescribeConfigs:      true,
	protocol.CreateTopics:         true,
	protocol.OffsetForLeaderEpoch: true,
	protocol.DeleteGroups:         true,
	protocol.DescribeGroups:       true,
}

// A roundTripper asks for optional APIs before it uses them, and names the
// address where an error comes from one that cannot be reached.
type roundTripper struct {
	next kafkago.RoundTripper
	conn *Conn
}

// RoundTrip sends a request. Where the broker does not offer the request's API
// the error is [kafkago.UnsupportedVersion].
func (r roundTripper) RoundTrip(ctx context.Context, address net.Addr, request kafkago.Request) (kafkago.Response, error) {
	began := time.Now()
	if optional[request.ApiKey()] {
		client := kafkago.Client{Addr: address, Transport: r.next}
		offered, err := client.ApiVersions(ctx, &kafkago.ApiVersionsRequest{})
		if err == nil {
			err = offered.Error
		}
		if err != nil {
			return nil, r.conn.unreached(err, began)
		}
		if !offers(offered, request.ApiKey()) {
			return nil, NotOffered(request.ApiKey())
		}
	}
	response, err := r.next.RoundTrip(ctx, address, request)
	if err == nil {
		r.conn.answered.Store(true)
	}
	return response, r.conn.unreached(err, began)
}

func offers(offered *kafkago.ApiVersionsResponse, key protocol.ApiKey) bool {
	for _, k := range offered.ApiKeys {
		if k.ApiKey == int(key) {
			return true
		}
	}
	return false
}

// NotOffered is the error for an API that a broker does not offer.
func NotOffered(key protocol.ApiKey) error {
	return &Fault{Class: Refused, Words: fmt.Sprintf("the broker does not offer the API %s", key), Err: kafkago.UnsupportedVersion}
}
