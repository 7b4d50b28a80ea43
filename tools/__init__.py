"""Command-line tools. An installed package has them as ``maxvit_dense_tools``, behind the command `maxvit-dense`."""
