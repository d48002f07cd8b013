"""The resource types of CloudFormation that the local cloud makes, by service."""
