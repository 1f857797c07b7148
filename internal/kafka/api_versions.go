package kafka

import (
	"context"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// optionalAPIs are the APIs that not every broker offers. For an API that a broker
// does not list the library sends version 0, and the broker closes the
// connection, which looks like a broken one.
var optionalAPIs = map[protocol.ApiKey]bool{
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
	next    kafkago.RoundTripper
	cluster *Cluster
}

// RoundTrip sends a request. Where the broker does not offer the request's API
// the error is [kafkago.UnsupportedVersion].
func (r roundTripper) RoundTrip(ctx context.Context, address net.Addr, request kafkago.Request) (kafkago.Response, error) {
	began := time.Now()
	if optionalAPIs[request.ApiKey()] {
		client := kafkago.Client{Addr: address, Transport: r.next}
		offered, err := client.ApiVersions(ctx, &kafkago.ApiVersionsRequest{})
		if err == nil {
			err = offered.Error
		}
		if err != nil {
			return nil, r.cluster.explainUnreachable(err, began)
		}
		if !supports(offered, request.ApiKey()) {
			return nil, UnsupportedAPI(request.ApiKey())
		}
	}
	response, err := r.next.RoundTrip(ctx, address, request)
	if err == nil {
		r.cluster.answered.Store(true)
	}
	return response, r.cluster.explainUnreachable(err, began)
}

func supports(offered *kafkago.ApiVersionsResponse, key protocol.ApiKey) bool {
	for _, k := range offered.ApiKeys {
		if k.ApiKey == int(key) {
			return true
		}
	}
	return false
}

// UnsupportedAPI is the error for an API that a broker does not offer.
func UnsupportedAPI(key protocol.ApiKey) error {
	return &Error{Class: Refused, Message: fmt.Sprintf("the broker does not offer the API %s", key), Err: kafkago.UnsupportedVersion}
}
