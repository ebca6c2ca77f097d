// Command tracer-publish registers the committed files of a tracer dataset in Iceberg tables. tracer publish --iceberg runs it
// and tells it, on standard input, which files the dataset's manifests commit: it never looks into the dataset's folders by
// itself, so files of a run that is being published, or that broke off, are never registered.
//
// It is a module of its own because iceberg-go brings arrow-go v18, whose Parquet package cannot share a program with v17's.
//
// A table is brought to what the listing says in one commit: files that it lacks are added, files that the dataset no longer
// has (a compaction replaced them, a repair set them aside) are taken out. A table that is as it should be is not committed
// to. The table runs comes last: a run that it shows is in all tables. Whoever loses a race with another committer looks
// again at what is there, and commits what is still to be done.
package main
