"""CloudFormation: stacks are records of our own; every resource is made by calling its service's API."""
