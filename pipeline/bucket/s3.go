package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
)

// errNoRegion says that nobody has said which region to sign requests for.
var errNoRegion = errors.New("no region is set")

// openS3 opens a bucket as s3blob's own opener does, but for what that leaves no way to: the SDK writes no warnings on the
// terminal, and a server with an address of its own needs no region and is told the bucket in the path.
func openS3(ctx context.Context, u url.URL) (*blob.Bucket, error) {
	query := u.Query()
	options := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})}
	if region := query.Get("region"); region != "" {
		options = append(options, config.WithRegion(region))
	}
	if profile := query.Get("profile"); profile != "" {
		options = append(options, config.WithSharedConfigProfile(profile))
	}
	anonymous, err := flag(query, "anonymous", false)
	if err != nil {
		return nil, err
	}
	if anonymous {
		options = append(options, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, err
	}
	if endpoint := query.Get("endpoint"); endpoint != "" {
		loaded.BaseEndpoint = &endpoint
	}
	own := loaded.BaseEndpoint != nil || os.Getenv("AWS_ENDPOINT_URL_S3") != ""
	if loaded.Region == "" && !own {
		return nil, errNoRegion
	}
	if loaded.Region == "" {
		loaded.Region = "us-east-1"
	}
	inPath, err := flag(query, "use_path_style", own)
	if err != nil {
		return nil, err
	}
	client := s3.NewFromConfig(loaded, func(o *s3.Options) { o.UsePathStyle = inPath })
	return s3blob.OpenBucket(ctx, client, u.Host, &s3blob.Options{RequestChecksumCalculation: loaded.RequestChecksumCalculation})
}

// flag is a parameter that says yes or no.
func flag(query url.Values, name string, otherwise bool) (bool, error) {
	if !query.Has(name) {
		return otherwise, nil
	}
	v, err := strconv.ParseBool(query.Get(name))
	if err != nil {
		return false, fmt.Errorf("%w: ?%s= is true or false", ErrLocation, name)
	}
	return v, nil
}
