package kafka

import (
	"context"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// optionalAPIs are APIs that not every broker offers. For an API that a broker does not
// list, the library sends version 0, and the broker closes the connection.
var optionalAPIs = map[protocol.ApiKey]bool{
	protocol.InitProducerId:       true,
	protocol.DescribeConfigs:      true,
	protocol.CreateTopics:         true,
	protocol.OffsetForLeaderEpoch: true,
	protocol.DeleteGroups:         true,
	protocol.DescribeGroups:       true,
}

// A roundTripper checks that the broker offers an optional API, and names the address
// that could not be reached in an error.
type roundTripper struct {
	next    kafkago.RoundTripper
	cluster *Cluster
}

// RoundTrip sends a request. If the broker does not offer the request's API, the error
// is [kafkago.UnsupportedVersion].
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

// UnsupportedAPI returns the error for an API that a broker does not offer.
func UnsupportedAPI(key protocol.ApiKey) error {
	return &Error{Class: Refused, Message: fmt.Sprintf("the broker does not offer the API %s", key), Err: kafkago.UnsupportedVersion}
}
